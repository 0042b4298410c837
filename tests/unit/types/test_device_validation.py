"""ResourceSlices, claims and classes of devices that upstream refuses, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types.conftest import Writer
from tests.unit.types.objects import make
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import copied

V1 = "resource.k8s.io/v1"
DRIVER = "gpu.example.com"
PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def slice_of(*devices: Any, **spec: Any) -> Object:
    pool = {"name": "a", "generation": 1, "resourceSliceCount": 1}
    where = {} if {"allNodes", "perDeviceNodeSelection"} & spec.keys() else {"nodeName": "a"}
    given = {"devices": list(devices)} if devices else {}
    return make(V1, "ResourceSlice", spec={"driver": DRIVER, "pool": pool, **where, **given, **spec})


def claim_of(*requests: Any, **devices: Any) -> Object:
    return make(V1, "ResourceClaim", spec={"devices": {"requests": list(requests), **devices}})


def request(name: str = "gpu", **exactly: Any) -> dict[str, Any]:
    return {"name": name, "exactly": {"deviceClassName": "gpu", **exactly}}


def shared(**policy: Any) -> dict[str, Any]:
    capacity = {"memory": {"value": "10Gi", "requestPolicy": policy}}
    return {"name": "0", "allowMultipleAllocations": True, "capacity": capacity}


COUNTERS = {"name": "card", "counters": {"slots": {"value": "4"}}}
TERM = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
SOUND = [
    slice_of({"name": "0", "attributes": {"model": {"string": "x"}, "a.example.com/b": {"version": "1.0.0"}}}),
    slice_of(shared(default="1Gi", validRange={"min": "1Gi", "max": "9Gi", "step": "2Gi"})),
    slice_of(shared(default="1Gi", validValues=["1Gi", "2Gi"])),
    slice_of(sharedCounters=[COUNTERS]),
    slice_of({"name": "0", "allNodes": True}, perDeviceNodeSelection=True),
    slice_of({"name": "0", "bindingConditions": ["ready"], "bindingFailureConditions": ["x/broken"]}),
    claim_of(request(), {"name": "b", "firstAvailable": [{"name": "c", "deviceClassName": "gpu"}]}),
    claim_of(request(), constraints=[{"requests": ["gpu"], "matchAttribute": "a.example.com/b"}]),
    claim_of(request(selectors=[{"cel": {"expression": "device.driver == 'a'"}}])),
    make(V1, "DeviceClass", spec={"extendedResourceName": "example.com/gpu"}),
    slice_of({"name": "0", "attributes": {"a/b/c": {"bool": True}}}),
    slice_of({"name": "0", "nodeSelector": {"nodeSelectorTerms": [TERM, TERM]}}, perDeviceNodeSelection=True),
    claim_of(request(selectors=[{"cel": {"expression": "device.attributes['a.example.com'].b"}}])),
    claim_of(request(selectors=[{"cel": {"expression": "has(device.driver) && device.capacity['a'].b == 1"}}])),
]


@pytest.mark.parametrize("body", SOUND)
def test_sound_objects_pass(writer: Writer, body: Object) -> None:
    stored, errors = writer.create(body)
    assert errors == []
    assert writer.update(stored, stored)[1] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (slice_of(pool={"resourceSliceCount": 1}), "spec.pool.name: Required value"),
        (slice_of(pool={"name": "a"}), "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero"),
        (slice_of(driver=""), "spec.driver: Required value"),
        (slice_of(driver="d" * 64), "spec.driver: Too long: may not be more than 63 bytes"),
        (slice_of(nodeName=None), f"spec: Required value: {PLACE}"),
        (
            slice_of(allNodes=True, nodeName="a"),
            f'spec: Invalid value: "{{`nodeName`, `allNodes`}}": {PLACE}, but multiple fields are set',
        ),
        (
            slice_of(allNodes=False, nodeName="a"),
            "spec.allNodes: Invalid value: false: must be either unset or set to true",
        ),
        (
            slice_of({"name": "0"}, sharedCounters=[COUNTERS]),
            'spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed',
        ),
        (slice_of({"name": "0"}, {"name": "0"}), 'spec.devices[1]: Duplicate value: "0"'),
        (slice_of(*({"name": str(n)} for n in range(129))), "spec.devices: Too many: 129: must have at most 128 items"),
        (
            slice_of({"name": "0", "attributes": {"a": {}}}),
            'spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified',
        ),
        (
            slice_of({"name": "0", "attributes": {"a": {"version": "1"}}}),
            (
                'spec.devices[0].attributes[a].version: Invalid value: "1": must be a string compatible with '
                "semver.org spec 2.0.0"
            ),
        ),
        (
            slice_of({"name": "0", "capacity": {"a": {"value": "1", "requestPolicy": {"default": "1"}}}}),
            "spec.devices[0].capacity[a].requestPolicy: Forbidden: allowMultipleAllocations must be true",
        ),
        (
            slice_of(shared(default="1Gi", validRange={"min": "1Gi", "step": "0"})),
            (
                "spec.devices[0].capacity[memory].requestPolicy.validRange.step: "
                'Invalid value: "0": must be greater than zero'
            ),
        ),
        (
            slice_of(shared(default="3Gi", validValues=["1Gi", "2Gi"])),
            (
                'spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: "3Gi": default value is '
                "not valid according to the requestPolicy"
            ),
        ),
        (
            slice_of(shared(validValues=["1Gi"])),
            (
                "spec.devices[0].capacity[memory].requestPolicy.default: Required value: "
                "required when validValues is defined"
            ),
        ),
        (
            slice_of({"name": "0", "taints": [{"key": "a", "effect": "Sometimes"}]}),
            (
                'spec.devices[0].taints[0].effect: Unsupported value: "Sometimes": supported values: "NoExecute", '
                '"NoSchedule", "None"'
            ),
        ),
        (
            slice_of({"name": "0", "bindingConditions": ["ready"]}),
            (
                "spec.devices[0].bindingFailureConditions: Invalid value: []: bindingFailureConditions are required to "
                "use bindingConditions"
            ),
        ),
        (
            slice_of({"name": "0", "consumesCounters": [{"counterSet": "a"}]}),
            "spec.devices[0].consumesCounters[0].counters: Required value",
        ),
        (
            claim_of({"name": "a"}),
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
        ),
        (claim_of({"name": "a", "exactly": {}}), "spec.devices.requests[0].exactly.deviceClassName: Required value"),
        (claim_of(request(), request()), 'spec.devices.requests[1]: Duplicate value: "gpu"'),
        (
            claim_of(request(allocationMode="All", count=2)),
            (
                "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode "
                "is 'All'"
            ),
        ),
        (claim_of(request(selectors=[{}])), "spec.devices.requests[0].exactly.selectors[0].cel: Required value"),
        (claim_of(request(selectors=[{"cel": {"expression": "device."}}])), None),
        (claim_of(request(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}])), None),
        (claim_of(request(), constraints=[{"requests": ["other"], "matchAttribute": "a.example.com/b"}]), None),
        (
            claim_of(request(), constraints=[{"matchAttribute": "b"}]),
            (
                'spec.devices.constraints[0].matchAttribute: Invalid value: "b": a fully qualified name must be a '
                "domain and a name separated by a slash"
            ),
        ),
        (claim_of(request(), config=[{"requests": ["gpu"]}]), "spec.devices.config[0].opaque: Required value"),
        (
            slice_of(pool={"name": "a", "generation": -1, "resourceSliceCount": 1}),
            "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
        ),
        (
            slice_of({"name": "0", "nodeName": "", "allNodes": True}, perDeviceNodeSelection=True),
            'spec.devices[0].nodeName: Invalid value: "": must not be empty',
        ),
        (
            slice_of({"name": "0", "attributes": {"a": {"strings": ["x"]}}}),
            'spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified',
        ),
        (
            slice_of(shared(default="100m", validValues=["100m", "200m"])),
            'spec.devices[0].capacity[memory].requestPolicy.validValues[1]: Duplicate value: "1"',
        ),
        (
            claim_of(request(allocationMode="Some")),
            (
                'spec.devices.requests[0].exactly.allocationMode: Unsupported value: "Some": supported values: "All", '
                '"ExactCount"'
            ),
        ),
        (
            claim_of(request(selectors=[{"cel": {"expression": "1 + 1"}}])),
            (
                'spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "1 + 1": must evaluate '
                "to bool or the unknown type, not int"
            ),
        ),
        (
            claim_of(request(selectors=[{"cel": {"expression": "device.driver"}}])),
            (
                'spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "device.driver": must '
                "evaluate to bool or the unknown type, not string"
            ),
        ),
        (
            make(V1, "DeviceClass", spec={"extendedResourceName": "cpu"}),
            'spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name',
        ),
    ],
)
def test_refusals(writer: Writer, body: Object, expected: str | None) -> None:
    errors = writer.create(body)[1]
    assert len(errors) == 1
    assert expected is None or errors == [expected]


RESULT = {"request": "gpu", "driver": DRIVER, "pool": "a", "device": "0"}
CONSUMER = {"resource": "pods", "name": "p", "uid": "u"}


def allocated(*results: Any, **status: Any) -> Object:
    return {"allocation": {"devices": {"results": list(results)}}, **status}


def described(**said: Any) -> Object:
    return allocated(RESULT, devices=[{"driver": DRIVER, "pool": "a", "device": "0", **said}])


def condition(**fields: Any) -> dict[str, Any]:
    sound = {"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {**sound, **fields}


def selecting(term: dict[str, Any]) -> Object:
    found = allocated(RESULT)
    found["allocation"]["nodeSelector"] = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    return found


SAID: list[tuple[dict[str, Any], str]] = [
    ({"conditions": [condition(), condition(type="a.example.com/b", message="m")]}, ""),
    ({"conditions": [condition(), condition()]}, 'conditions[1].type: Duplicate value: "Ready"'),
    ({"conditions": [condition(lastTransitionTime=None)]}, "conditions[0].lastTransitionTime: Required value"),
    ({"conditions": [condition(reason="")]}, "conditions[0].reason: Required value"),
    (
        {"conditions": [condition(status="Maybe")]},
        'conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown"',
    ),
    (
        {"conditions": [condition(observedGeneration=-1)]},
        "conditions[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
    ),
    (
        {"conditions": [condition(message="m" * (32 * 1024 + 1))]},
        "conditions[0].message: Too long: may not be more than 32768 bytes",
    ),
    (
        {"conditions": [condition(type=f"t{number}") for number in range(9)]},
        "conditions: Too many: 9: must have at most 8 items",
    ),
    ({"data": {"a": 1}}, ""),
    ({"data": {"a": "x" * 10 * 1024}}, "data: Too long: may not be more than 10240 bytes"),
    ({"networkData": {"interfaceName": "eth0", "ips": ["10.0.0.1/8", "2001:db8::1/64"]}}, ""),
    (
        {"networkData": {"interfaceName": "e" * 257}},
        "networkData.interfaceName: Too long: may not be more than 256 bytes",
    ),
    (
        {"networkData": {"hardwareAddress": "e" * 129}},
        "networkData.hardwareAddress: Too long: may not be more than 128 bytes",
    ),
    (
        {"networkData": {"ips": [f"10.0.0.{number}/8" for number in range(17)]}},
        "networkData.ips: Too many: 17: must have at most 16 items",
    ),
    ({"networkData": {"ips": ["10.0.0.1/8", "10.0.0.1/8"]}}, 'networkData.ips[1]: Duplicate value: "10.0.0.1/8"'),
    (
        {"networkData": {"ips": ["10.0.0.1"]}},
        (
            'networkData.ips[0]: Invalid value: "10.0.0.1": must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or '
            "2001:db8::1/64)"
        ),
    ),
    (
        {"networkData": {"ips": ["2001:DB8::1/64"]}},
        'networkData.ips[0]: Invalid value: "2001:DB8::1/64": must be in canonical form ("2001:db8::1/64")',
    ),
    (
        {"networkData": {"ips": ["::ffff:192.168.0.1/120"]}},
        'networkData.ips[0]: Invalid value: "::ffff:192.168.0.1/120": must be in canonical form ("192.168.0.1/24")',
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, allocated(RESULT, reservedFor=[CONSUMER]), []),
        (allocated(RESULT), {}, []),
        (
            {},
            {"reservedFor": [CONSUMER]},
            ["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"],
        ),
        (
            {},
            allocated(RESULT, reservedFor=[{"resource": "pods", "name": "p"}]),
            ["status.reservedFor[0].uid: Required value"],
        ),
        ({}, allocated({**RESULT, "driver": ""}), ["status.allocation.devices.results[0].driver: Required value"]),
        ({}, allocated({**RESULT, "request": "other"}), None),
        ({}, allocated({**RESULT, "shareID": "x"}), None),
        (allocated(RESULT), allocated({**RESULT, "device": "1"}), None),
        ({}, allocated(RESULT, devices=[{"driver": DRIVER, "pool": "a", "device": "1"}]), None),
        ({}, selecting({"key": "a", "operator": "Exists"}), []),
        (
            {},
            selecting({"key": "a", "operator": "In"}),
            [
                (
                    "status.allocation.nodeSelector.nodeSelectorTerms[0].matchExpressions[0].values: Required value: "
                    "must be specified when `operator` is 'In' or 'NotIn'"
                )
            ],
        ),
        (
            {},
            allocated({**RESULT, "shareID": "A0000000-0000-0000-0000-000000000000"}),
            [
                (
                    "status.allocation.devices.results[0].shareID: Invalid value: "
                    '"A0000000-0000-0000-0000-000000000000": '
                    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
                    "hexadecimal characters"
                )
            ],
        ),
        (
            {},
            allocated({**RESULT, "shareID": "x"}),
            [
                (
                    'status.allocation.devices.results[0].shareID: Invalid value: "x": error validating uid: invalid '
                    "UUID length: 1"
                )
            ],
        ),
        *(({}, described(**said), [f"status.devices[0].{text}"] if text else []) for said, text in SAID),
    ],
)
def test_what_may_be_written_of_a_claim(
    writer: Writer, before: Object, after: Object, expected: list[str] | None
) -> None:
    stored = writer.create(claim_of(request()))[0]
    old, new = {**copied(stored), "status": before}, {**copied(stored), "status": after}
    errors = writer.update(old, new, "status")[1]
    assert len(errors) == 1 if expected is None else errors == expected


def test_what_drivers_say_goes_with_the_devices(writer: Writer) -> None:
    stored = writer.create(claim_of(request()))[0]
    described = [{"driver": DRIVER, "pool": "a", "device": "0"}]
    old = {**copied(stored), "status": allocated(RESULT, devices=described)}
    written, errors = writer.update(old, {**copied(stored), "status": {"devices": described}}, "status")
    assert errors == []
    assert "devices" not in written["status"]


def test_a_changed_claim_is_told_of_nothing_but_that(writer: Writer) -> None:
    stored = writer.create(claim_of(request()))[0]
    changed = {**copied(stored), "spec": claim_of({"name": "a"})["spec"]}
    errors = writer.update(stored, changed)[1]
    assert len(errors) == 1
    assert errors[0].endswith("field is immutable")


def test_fields_of_what_is_off_are_dropped_unless_they_are_there(writer: Writer) -> None:
    lists = {"name": "0", "attributes": {"a": {"int": 1, "ints": [1]}}, "nodeAllocatableResourceMappings": {"cpu": {}}}
    written, errors = writer.create(slice_of(lists))
    assert (written["spec"]["devices"], errors) == ([{"name": "0", "attributes": {"a": {"int": 1}}}], [])
    there = {**written, "spec": slice_of({"name": "0", "attributes": {"a": {"ints": [1]}}})["spec"]}
    assert writer.update(there, copied(there))[0]["spec"] == there["spec"]
