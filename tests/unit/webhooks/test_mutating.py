"""MutatingWebhookConfiguration: patches, their order, the second round, and patches that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.harness import Api, pod
from tests.unit.webhooks.servers import WebhookServer, configure, dynamic_api, label, patch, webhook_server
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, metadata_of

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path) as made:
        yield made


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with dynamic_api() as made:
        yield made


def labelled() -> Any:
    return pod("web", labels={"app": "web"})


async def test_a_patch_changes_what_is_stored_and_is_defaulted(api: Api, server: WebhookServer) -> None:
    sidecar = {"name": "sidecar", "image": "proxy"}
    server.answers["inject"] = lambda request: patch({"op": "add", "path": "/spec/containers/-", "value": sidecar})
    await configure(api, server.webhook("inject.example.com"), mutating=True)
    made = await api.json("POST", PODS, labelled(), expect=201)
    assert [each["name"] for each in made["spec"]["containers"]] == ["main", "sidecar"]
    assert made["spec"]["containers"][1]["imagePullPolicy"] == "Always"
    assert made["spec"]["containers"][1]["terminationMessagePath"] == "/dev/termination-log"


async def test_by_name_each_sees_what_was_made_before(api: Api, server: WebhookServer) -> None:
    def second(request: Any) -> Any:
        assert request["object"]["metadata"]["labels"]["one"] == "yes"
        return patch(label("two"))

    server.answers |= {"two": second, "one": lambda request: patch(label("one"))}
    await configure(api, server.webhook("two.example.com"), mutating=True, name="b")
    await configure(api, server.webhook("one.example.com"), mutating=True, name="a")
    made = await api.json("POST", PODS, labelled(), expect=201)
    assert made["metadata"]["labels"] == {"app": "web", "one": "yes", "two": "yes"}
    assert server.called == ["one", "two"]


async def test_only_those_that_want_it_are_called_again_after_a_change(api: Api, server: WebhookServer) -> None:
    quiet = {"allowed": True}
    server.answers |= {"again": lambda _: quiet, "never": lambda _: quiet, "last": lambda _: patch(label("last"))}
    await configure(
        api,
        server.webhook("again.example.com", reinvocationPolicy="IfNeeded"),
        server.webhook("never.example.com"),
        server.webhook("last.example.com", reinvocationPolicy="IfNeeded"),
        mutating=True,
    )
    await api.json("POST", PODS, labelled(), expect=201)
    assert server.called == ["again", "never", "last", "again"]


async def test_no_second_round_when_nothing_changed(api: Api, server: WebhookServer) -> None:
    server.answers["same"] = lambda request: patch({"op": "test", "path": "/metadata/name", "value": "web"})
    await configure(api, server.webhook("same.example.com", reinvocationPolicy="IfNeeded"), mutating=True)
    await api.json("POST", PODS, labelled(), expect=201)
    assert server.called == ["same"]


async def test_what_a_webhook_makes_of_it_is_validated(api: Api, server: WebhookServer) -> None:
    replaced = {"op": "replace", "path": "/spec/containers/0/image", "value": ""}
    server.answers["bad"] = lambda request: patch(replaced)
    await configure(api, server.webhook("bad.example.com"), mutating=True)
    code, reason, message = await api.refused("POST", PODS, labelled())
    assert (code, reason) == (422, "Invalid")
    assert "spec.containers[0].image: Required value" in message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (patch({"op": "remove", "path": "/spec/nothing"}), "Internal error occurred: "),
        (patch({"op": "replace", "path": "", "value": 7}), "does not leave an object"),
        (patch({"op": "replace", "path": "/spec/containers", "value": "x"}), "cannot unmarshal"),
        ({"allowed": True, "patch": "W10=", "patchType": "Other"}, 'unsupported patch type "Other"'),
        ({"allowed": True, "patch": "W10="}, "webhook returned response.patch but not response.patchType"),
        ({"allowed": True, "patch": "%%%", "patchType": "JSONPatch"}, "Internal error occurred: "),
    ],
)
async def test_a_patch_that_is_none_is_the_webhooks_fault(
    api: Api, server: WebhookServer, answer: Any, words: str
) -> None:
    server.answers["odd"] = lambda request: answer
    await configure(api, server.webhook("odd.example.com"), mutating=True)
    code, reason, message = await api.refused("POST", PODS, labelled())
    assert (code, reason) == (500, "InternalError")
    assert words in message


async def test_a_change_of_the_spec_on_update_counts_as_a_generation(api: Api, server: WebhookServer) -> None:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["UPDATE"]}
    server.answers["three"] = lambda request: patch({"op": "replace", "path": "/spec/replicas", "value": 3})
    await configure(api, server.webhook("three.example.com", rules=[rule]), mutating=True)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    place = "/apis/apps/v1/namespaces/default/deployments"
    await api.json("POST", place, body, expect=201)
    merge = {"content-type": "application/merge-patch+json"}
    changed = await api.json("PATCH", f"{place}/d", {"metadata": {"labels": {"x": "y"}}}, headers=merge)
    assert (changed["spec"]["replicas"], changed["metadata"]["generation"]) == (3, 2)


async def test_v1beta1_reviews_are_spoken_too(api: Api, server: WebhookServer) -> None:
    server.answers["old"] = lambda request: patch(label("old"))
    webhook = server.webhook("old.example.com", admissionReviewVersions=["v9", "v1beta1"])
    await configure(api, webhook, mutating=True)
    made = await api.json("POST", PODS, labelled(), expect=201)
    assert made["metadata"]["labels"]["old"] == "yes"


async def test_a_change_by_others_in_the_second_round_counts_too(server: WebhookServer) -> None:
    """Between the rounds a built-in plugin may react to what a webhook did; those before are asked again then."""

    class Reacting(Plugin):
        name = "Reacting"

        def handles(self, request: AdmissionRequest) -> bool:
            return request.resource.plural == "pods"

        async def admit(self, request: AdmissionRequest) -> None:
            labels = metadata_of(request)["labels"]
            if "last" in labels:
                labels["reacted"] = "yes"

    seen: list[Any] = []

    def look(request: Any) -> Any:
        seen.append(request["object"]["metadata"]["labels"])
        return {"allowed": True}

    server.answers |= {"last": lambda _: patch(label("last")), "look": look}
    async with dynamic_api() as plain:
        api = Api(replace(plain.runtime, admission=(Reacting(), *plain.runtime.admission)))
        webhooks = [
            server.webhook("last.example.com"),
            server.webhook("look.example.com", reinvocationPolicy="IfNeeded"),
        ]
        await configure(api, *webhooks, mutating=True)
        await api.json("POST", PODS, labelled(), expect=201)
    assert server.called == ["last", "look", "look"]
    assert "reacted" in seen[-1]


async def test_the_server_names_an_object_after_it_was_changed(api: Api, server: WebhookServer) -> None:
    """Mutating webhooks see neither a generated name nor uid and creation time; validating ones see all."""
    server.answers["early"] = lambda request: patch(label("early"))
    server.answers["late"] = lambda request: {"allowed": True}
    await configure(api, server.webhook("early.example.com"), mutating=True, name="a")
    await configure(api, server.webhook("late.example.com"), mutating=False, name="b")
    body = labelled()
    body["metadata"] = {"generateName": "web-", "labels": {"app": "web"}}
    made = await api.json("POST", PODS, body, expect=201)
    name = made["metadata"]["name"]
    assert name.startswith("web-")
    assert made["metadata"]["labels"] == {"app": "web", "early": "yes"}
    (_, early), *_, (_, late) = server.reviews
    assert "name" not in early
    assert early["object"]["metadata"]["generateName"] == "web-"
    assert not {"name", "uid", "creationTimestamp"} & early["object"]["metadata"].keys()
    assert late["name"] == name
    assert late["object"]["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_webhook_may_name_an_object_itself(api: Api, server: WebhookServer) -> None:
    server.answers["name"] = lambda request: patch({"op": "add", "path": "/metadata/name", "value": "mine"})
    await configure(api, server.webhook("name.example.com"), mutating=True)
    body = labelled()
    body["metadata"] = {"generateName": "web-"}
    assert (await api.json("POST", PODS, body, expect=201))["metadata"]["name"] == "mine"
