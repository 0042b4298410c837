"""Custom resources over the API: from the definition's creation to its deletion."""

from __future__ import annotations

import orjson

from tests.unit.extensions.harness import (
    DEFINITIONS,
    certificate_definition,
    conditions,
    cron_tab,
    define,
    definition,
    extended,
    monitor_definition,
    object_of,
    of,
    until,
)
from twinplane.kubeclient.contract import Object

TABS = "/apis/example.com/v1/namespaces/default/crontabs"
SPEC = {"cronSpec": "* * * * */5"}
TABLE = {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}


async def test_a_definition_is_defaulted_and_established() -> None:
    async with extended() as api:
        found = await define(api, cron_tab())
        names = {
            "plural": "crontabs",
            "singular": "crontab",
            "kind": "CronTab",
            "listKind": "CronTabList",
            "shortNames": ["ct"],
            "categories": ["all"],
        }
        assert found["spec"]["names"] == names
        assert found["status"]["acceptedNames"] == names
        assert found["status"]["storedVersions"] == ["v1"]
        assert found["spec"]["conversion"] == {"strategy": "None"}
        assert conditions(found) == {"NamesAccepted": "True", "Established": "True"}


async def test_an_object_is_defaulted_pruned_and_shown() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        body = object_of("CronTab", "a", SPEC | {"unknown": 1, "ports": [{"name": "a", "port": "http", "more": 2}]})
        made = await api.json("POST", TABS, body, expect=201)
        expected = SPEC | {"image": "nginx", "replicas": 1, "ports": [{"name": "a", "port": "http"}]}
        assert made["spec"] == expected
        assert made["metadata"]["generation"] == 1
        table = await api.json("GET", TABS, headers=TABLE)
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Spec", "Replicas"]
        assert table["rows"][0]["cells"] == ["a", "* * * * */5", 1]


async def test_protobuf_is_refused() -> None:
    media = {"content-type": "application/vnd.kubernetes.protobuf"}
    async with extended() as api:
        await define(api, cron_tab())
        made = await api.json("POST", TABS, object_of("CronTab", "a", SPEC), expect=201)
        for method, target in (("POST", TABS), ("PUT", f"{TABS}/a")):
            code, reason, message = await api.refused(method, target, b"k8s\0" + orjson.dumps(made), headers=media)
            assert (code, reason) == (415, "UnsupportedMediaType")
            assert message == (
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json, application/yaml"
            )


async def test_field_validation() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        body = object_of("CronTab", "a", SPEC | {"unknown": 1})
        refused = await api.refused("POST", f"{TABS}?fieldValidation=Strict", body)
        message = 'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field '
        assert refused == (400, "BadRequest", message + '"spec.unknown"')
        response = await api.send("POST", f"{TABS}?fieldValidation=Warn", body)
        assert response.status == 201
        assert response.headers["warning"] == '299 - "unknown field \\"spec.unknown\\""'


async def test_status_and_generation() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        body = object_of("CronTab", "a", SPEC) | {"status": {"replicas": 9}}
        made = await api.json("POST", TABS, body, expect=201)
        assert "status" not in made
        changed = {**made, "spec": {**made["spec"], "replicas": 2}, "status": {"replicas": 5}}
        updated = await api.json("PUT", f"{TABS}/a/status", changed)
        assert (updated["spec"]["replicas"], updated["status"]) == (1, {"replicas": 5})
        assert updated["metadata"]["generation"] == 1
        patch = {"spec": {"replicas": 2}, "status": {"replicas": 7}}
        patched = await api.json("PATCH", f"{TABS}/a", patch, headers={"content-type": "application/merge-patch+json"})
        assert (patched["spec"]["replicas"], patched["status"]) == (2, {"replicas": 5})
        assert patched["metadata"]["generation"] == 2


async def test_scale() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        await api.json("POST", TABS, object_of("CronTab", "a", SPEC), expect=201)
        scale = await api.json("GET", f"{TABS}/a/scale")
        assert (scale["apiVersion"], scale["spec"], scale["status"]) == (
            "autoscaling/v1",
            {"replicas": 1},
            {"replicas": 0},
        )
        scale["spec"]["replicas"] = 4
        await api.json("PUT", f"{TABS}/a/scale", scale)
        assert (await api.json("GET", f"{TABS}/a"))["spec"]["replicas"] == 4
        headers = {"content-type": "application/merge-patch+json"}
        code, _, message = await api.refused("PATCH", f"{TABS}/a/scale", {"spec": {"replicas": 101}}, headers=headers)
        assert code == 422
        assert "spec.replicas in body should be less than or equal to 100" in message


async def test_selectable_fields() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        for name, image in (("a", "nginx"), ("b", "redis")):
            await api.json("POST", TABS, object_of("CronTab", name, SPEC | {"image": image}), expect=201)
        found = await api.json("GET", f"{TABS}?fieldSelector=spec.image=redis")
        assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
        refused = await api.refused("GET", f"{TABS}?fieldSelector=spec.replicas=1")
        assert refused[0] == 400


async def test_server_side_apply_merges_by_the_schema() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        headers = {"content-type": "application/apply-patch+yaml"}
        for manager, port in (("one", 1), ("two", 2)):
            body = object_of("CronTab", "a", SPEC | {"ports": [{"name": manager, "port": port}]})
            path = f"{TABS}/a?fieldManager={manager}"
            found = await api.json("PATCH", path, body, headers=headers, expect=201 if manager == "one" else 200)
        assert [entry["name"] for entry in found["spec"]["ports"]] == ["one", "two"]
        body = object_of("CronTab", "a", {"cronSpec": "1 1 1 1 1"})
        code, reason, message = await api.refused("PATCH", f"{TABS}/a?fieldManager=two", body, headers=headers)
        assert (code, reason) == (409, "Conflict")
        assert ".spec.cronSpec" in message


async def test_numbers_that_nobody_can_hold_are_refused() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        for value in ("99999999999999999999999", "-9223372036854775809", "1e400"):
            body = b'{"apiVersion":"example.com/v1","kind":"CronTab","metadata":{"name":"a"},"spec":{"replicas":%s}}'
            sent = body % value.encode()
            headers = {"content-type": "application/apply-patch+yaml"}
            assert 400 <= (await api.send("POST", TABS, sent)).status < 500
            assert 400 <= (await api.send("PATCH", f"{TABS}/a?fieldManager=x", sent, headers=headers)).status < 500


async def test_strategic_merge_is_refused() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        await api.json("POST", TABS, object_of("CronTab", "a", SPEC), expect=201)
        headers = {"content-type": "application/strategic-merge-patch+json"}
        assert (await api.refused("PATCH", f"{TABS}/a", {}, headers=headers))[0] == 415


async def test_discovery_and_openapi_follow() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        resources = (await api.json("GET", "/apis/example.com/v1"))["resources"]
        assert [entry["name"] for entry in resources] == ["crontabs", "crontabs/scale", "crontabs/status"]
        assert resources[0]["shortNames"] == ["ct"]
        document = await api.json("GET", "/openapi/v3/apis/example.com/v1")
        # kubectl's apply takes what is said here at its word.
        patches = [paths["patch"]["requestBody"]["content"] for paths in document["paths"].values() if "patch" in paths]
        assert patches
        assert not any("application/strategic-merge-patch+json" in content for content in patches)
        schema = document["components"]["schemas"]["com.example.v1.CronTab"]
        assert schema["properties"]["spec"]["required"] == ["cronSpec"]
        await until(api, "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com", lambda body: True)


async def test_several_versions_without_conversion() -> None:
    two = cron_tab()
    old = {
        "name": "v1beta1",
        "served": True,
        "storage": False,
        "deprecated": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    two["spec"]["versions"].append(old)
    path = "/apis/example.com/v1beta1/namespaces/default/crontabs"
    async with extended() as api:
        await define(api, two)
        body = object_of("CronTab", "a", SPEC, version="v1beta1")
        response = await api.send("POST", path, body)
        assert response.headers["warning"] == '299 - "example.com/v1beta1 CronTab is deprecated"'
        assert orjson.loads(response.body)["apiVersion"] == "example.com/v1beta1"
        assert (await api.json("GET", f"{TABS}/a"))["apiVersion"] == "example.com/v1"
        listed = await api.json("GET", path)
        assert listed["items"][0]["apiVersion"] == "example.com/v1beta1"


async def test_what_was_stored_before_is_shown_as_the_present_version_has_it() -> None:
    schema = of({"type": "object", "properties": {"size": {"type": "integer"}}})
    first = definition("things", "Thing", schema, name="v1alpha1")
    schema = of(
        {"type": "object", "properties": {"size": {"type": "integer"}, "color": {"type": "string", "default": "red"}}}
    )
    second = definition("things", "Thing", schema)
    second["spec"]["versions"].append(first["spec"]["versions"][0] | {"storage": False, "served": False})
    path = "/apis/example.com/{}/namespaces/default/things"
    async with extended() as api:
        await define(api, first)
        body = object_of("Thing", "a", {"size": 1}, version="v1alpha1")
        await api.json("POST", path.format("v1alpha1"), body, expect=201)
        found = await define(api, second)
        assert found["status"]["storedVersions"] == ["v1alpha1", "v1"]
        seen = await api.json("GET", path.format("v1") + "/a")
        assert (seen["apiVersion"], seen["spec"]) == ("example.com/v1", {"size": 1, "color": "red"})
        assert (await api.refused("GET", path.format("v1alpha1")))[0] == 404


async def test_conflicting_names() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        other = definition("tabs", "CronTab", of({"type": "object"}), names={"shortNames": ["ct"]})
        await api.json("POST", DEFINITIONS, other, expect=201)
        path = f"{DEFINITIONS}/tabs.example.com"
        found = await until(api, path, lambda body: "Established" in conditions(body))
        assert conditions(found) == {"NamesAccepted": "False", "Established": "False"}
        last = found["status"]["conditions"][0]
        assert (last["reason"], last["message"]) == ("ListKindConflict", '"CronTabList" is already in use')
        assert (await api.refused("GET", "/apis/example.com/v1/tabs"))[0] == 404
        await api.json("DELETE", f"{DEFINITIONS}/crontabs.example.com")
        await until(api, path, lambda body: conditions(body).get("Established") == "True")


async def test_deleting_a_definition_deletes_its_objects_first() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        held = object_of("CronTab", "held", SPEC)
        held["metadata"]["finalizers"] = ["example.com/wait"]
        for body in (held, object_of("CronTab", "free", SPEC)):
            await api.json("POST", TABS, body, expect=201)
        path = f"{DEFINITIONS}/crontabs.example.com"
        marked = await api.json("DELETE", path)
        assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        assert conditions(marked)["Terminating"] == "True"
        await until(api, TABS, lambda body: [item["metadata"]["name"] for item in body["items"]] == ["held"])
        assert (await api.refused("POST", TABS, object_of("CronTab", "new", SPEC)))[0] == 405
        patch = [{"op": "remove", "path": "/metadata/finalizers"}]
        await api.json("PATCH", f"{TABS}/held", patch, headers={"content-type": "application/json-patch+json"})
        await until(api, path, lambda body: body["kind"] == "Status", 404)
        assert (await api.refused("GET", TABS))[2] == "the server could not find the requested resource"


async def test_deletion_ends_watches() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        stream = (await api.send("GET", f"{TABS}?watch=true")).stream
        assert stream is not None
        await api.json("DELETE", f"{DEFINITIONS}/crontabs.example.com")
        assert [piece async for piece in stream] == []


async def test_a_second_server_serves_from_the_start() -> None:
    async with extended() as api:
        await define(api, cron_tab())
        await api.json("POST", TABS, object_of("CronTab", "a", SPEC), expect=201)
        from twinplane.controlplane.api.extensions.customresources.controller import CustomResources
        from twinplane.kubeclient.contract import Resource

        api.runtime.registry.unregister(Resource("example.com", "v1", "crontabs", "CronTab", True))
        CustomResources(api.runtime, api.client).start()
        found = await api.json("GET", f"{TABS}?fieldSelector=spec.image=nginx")
        assert len(found["items"]) == 1


async def test_certificates_in_the_style_of_a_certificate_manager() -> None:
    path = "/apis/acme.io/v1/namespaces/default/certificates"
    async with extended() as api:
        await define(api, certificate_definition())
        good = {"secretName": "s", "issuerRef": {"name": "i"}, "privateKey": {}, "dnsNames": ["a", "b"]}
        made = await api.json("POST", path, object_of("Certificate", "a", good, group="acme.io"), expect=201)
        assert made["spec"]["issuerRef"] == {"name": "i", "kind": "Issuer"}
        assert made["spec"]["privateKey"] == {"algorithm": "RSA"}
        bad = {
            "secretName": "",
            "issuerRef": {},
            "privateKey": {"algorithm": "DSA", "size": 7},
            "dnsNames": ["a", "a", "b", "c"],
        }
        response = await api.send("POST", path, object_of("Certificate", "b", bad, group="acme.io"))
        causes = {(cause["reason"], cause["field"]) for cause in orjson.loads(response.body)["details"]["causes"]}
        assert causes == {
            ("FieldValueInvalid", "spec.secretName"),
            ("FieldValueRequired", "spec.issuerRef.name"),
            ("FieldValueNotSupported", "spec.privateKey.algorithm"),
            ("FieldValueInvalid", "spec.privateKey.size"),
            ("FieldValueTooMany", "spec.dnsNames"),
            ("FieldValueDuplicate", "spec.dnsNames[1]"),
        }


async def test_monitors_in_the_style_of_an_operator() -> None:
    path = "/apis/monitoring.example.com/v1/monitors"

    def monitor(name: str, spec: Object) -> Object:
        return object_of("Monitor", name, spec, group="monitoring.example.com")

    async with extended() as api:
        await define(api, monitor_definition())
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "anything": {"goes": True}}
        spec = {"template": pod, "extra": {"a": [1]}, "resources": {"requests": {"cpu": 1, "memory": "1Gi"}}}
        made = await api.json("POST", path, monitor("a", spec), expect=201)
        assert made["spec"] == spec | {"retention": "24h"}
        _, _, message = await api.refused("POST", path, monitor("b", {"endpoint": {}}))
        assert '<nil>: Invalid value: "": "spec.endpoint" must validate one and only one schema (oneOf)' in message
        _, _, message = await api.refused("POST", path, monitor("b", {"template": {"x": 1}}))
        assert "spec.template.apiVersion: Required value: must not be empty" in message
        assert "spec.template.kind: Required value: must not be empty" in message
