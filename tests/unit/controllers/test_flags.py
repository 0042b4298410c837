"""Flags of kube-controller-manager out of a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from twinplane.controlplane.composition import check_files, controller_options
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.controllers.flags import BadControllerFlags, load, parse


def test_values() -> None:
    found = parse(
        {
            "node-monitor-grace-period": "1m30s",
            "node-startup-grace-period": "500ms",
            "node-eviction-rate": 0.5,
            "secondary-node-eviction-rate": 0,
            "unhealthy-zone-threshold": "0.6",
            "large-cluster-size-threshold": 3,
            "terminated-pod-gc-threshold": -1,
        }
    )
    assert found == {
        "node-monitor-grace-period": "90.0",
        "node-startup-grace-period": "0.5",
        "node-eviction-rate": "0.5",
        "secondary-node-eviction-rate": "0.0",
        "unhealthy-zone-threshold": "0.6",
        "large-cluster-size-threshold": "3",
        "terminated-pod-gc-threshold": "-1",
    }
    assert parse(None) == {}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([], "the file must be an object of flags and values"),
        ({"node-eviction-rat": 1}, "unknown flag: --node-eviction-rat"),
        ({5: 1}, "unknown flag: --5"),
        (
            {"node-eviction-rate": "fast"},
            'argument "fast" for "--node-eviction-rate" flag: strconv.ParseFloat: parsing "fast": invalid syntax',
        ),
        ({"node-eviction-rate": True}, 'parsing "true": invalid syntax'),
        ({"node-eviction-rate": None}, 'invalid argument "none" for "--node-eviction-rate" flag'),
        ({"node-eviction-rate": -0.1}, "must be greater than or equal to 0"),
        ({"node-eviction-rate": "inf"}, "must be greater than or equal to 0"),
        ({"unhealthy-zone-threshold": 55}, "must be between 0 and 1"),
        ({"large-cluster-size-threshold": 1.5}, 'strconv.ParseInt: parsing "1.5": invalid syntax'),
        ({"large-cluster-size-threshold": -1}, "must be greater than or equal to 0"),
        ({"node-monitor-grace-period": 40}, 'time: invalid duration "40"'),
        ({"node-monitor-grace-period": ""}, 'time: invalid duration ""'),
        ({"node-monitor-grace-period": "4 s"}, 'time: invalid duration "4 s"'),
        ({"node-monitor-grace-period": "0"}, "must be greater than 0"),
    ],
)
def test_mistakes(body: Any, problem: str) -> None:
    with pytest.raises(BadControllerFlags) as found:
        parse(body)
    assert problem in str(found.value)


def texts() -> dict[str, Any]:
    names = [item.name for item in fields(ControlPlaneConfiguration) if item.type == "str"]
    return {name: "" for name in names if name != "controller_manager_config_file"}


def test_all_mistakes_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "kube-controller-manager.yaml"
    path.write_text("node-eviction-rate: x\nnonsense: 1\nnode-monitor-grace-period: 40s\n")
    with pytest.raises(BadControllerFlags) as found:
        load(path)
    assert str(found.value).splitlines() == [
        f"{path}:",
        'invalid argument "x" for "--node-eviction-rate" flag: strconv.ParseFloat: parsing "x": invalid syntax',
        "unknown flag: --nonsense",
    ]
    configuration = ControlPlaneConfiguration(**texts(), port=0, controller_manager_config_file=str(path))
    with pytest.raises(BadControllerFlags, match="unknown flag: --nonsense"):
        check_files(configuration)
    path.write_text("node-monitor-grace-period: 40s\n")
    assert controller_options(configuration)["node-monitor-grace-period"] == "40.0"
    path.write_text("a: [")
    with pytest.raises(BadControllerFlags, match="is not YAML"):
        load(path)
    with pytest.raises(BadControllerFlags, match=r"cannot read .*: No such file"):
        load(tmp_path / "none.yaml")
