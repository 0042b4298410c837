"""What is decided about disks, and the files behind them. Loop devices are in tests/nodes."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.cloud.volumes import images
from twinplane.cloud.volumes.contract import Snapshot, Storage, Volume
from twinplane.cloud.volumes.data_path import DataPath
from twinplane.cloud.volumes.decision import Plan, Present, decide

ATTACHED = Storage({"vol-1": Volume(1, "", "i-1")})


def test_a_volume_is_attached_once() -> None:
    assert decide(ATTACHED, {"i-1"}, Present()) == Plan(attach=(("i-1", "vol-1"),))
    present = Present({"vol-1"}, (), {"vol-1": ["/dev/loop3"]}, {("i-1", "vol-1"): "/dev/loop3"})
    assert decide(ATTACHED, {"i-1"}, present) == Plan()
    assert decide(ATTACHED, (), Present()) == Plan(), "what is attached to a simulated node needs no device"


def test_a_link_that_lies_is_replaced() -> None:
    """After a restart of the host, or when the number of the device went to another file."""
    present = Present({"vol-1"}, (), {}, {("i-1", "vol-1"): "/dev/loop3"})
    plan = decide(ATTACHED, {"i-1"}, present)
    assert (plan.unlink, plan.attach) == ((("i-1", "vol-1"),), (("i-1", "vol-1"),))


def test_moving_detaches_first() -> None:
    present = Present({"vol-1"}, (), {"vol-1": ["/dev/loop3"]}, {("i-2", "vol-1"): "/dev/loop3"})
    plan = decide(ATTACHED, {"i-1", "i-2"}, present)
    assert plan == Plan(unlink=(("i-2", "vol-1"),), detach=(("vol-1", "/dev/loop3"),), attach=(("i-1", "vol-1"),))


names = st.sampled_from(["vol-1", "vol-2", "vol-3"])
instances = st.sampled_from(["i-1", "i-2"])
devices = st.sampled_from(["/dev/loop1", "/dev/loop2"])


@settings(deadline=None)
@given(
    st.dictionaries(names, st.builds(Volume, st.just(1), st.just(""), st.sampled_from(["", "i-1", "i-2"]))),
    st.dictionaries(names, st.lists(devices, unique=True)),
    st.dictionaries(st.tuples(instances, names), devices),
)
def test_never_two_devices_that_stay(
    volumes: dict[str, Volume], shown: dict[str, list[str]], links: dict[tuple[str, str], str]
) -> None:
    plan = decide(Storage(volumes), {"i-1", "i-2"}, Present(set(volumes), (), shown, links))
    for name in {*volumes, *shown}:
        stay = [device for device in shown.get(name, []) if (name, device) not in plan.detach]
        new = [attached for _, attached in plan.attach if attached == name]
        wanted = name in volumes and bool(volumes[name].instance_id)
        assert len(stay) + len(new) == (1 if wanted else 0)


def test_copies_keep_holes_and_grow(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    images.create(source, 64 << 20)
    with source.open("r+b") as file:
        file.seek(32 << 20)
        file.write(b"data")
    images.copy(source, target, 128 << 20)
    assert target.stat().st_size == 128 << 20
    assert target.stat().st_blocks * 512 < 1 << 20
    with target.open("rb") as file:
        file.seek(32 << 20)
        assert file.read(8) == b"data\0\0\0\0"
    assert images.grow(target, 1 << 20) is False


def path_of(tmp_path: Path) -> tuple[DataPath, Path]:
    folder = tmp_path / "volumes"
    folder.mkdir()
    return DataPath(tmp_path, lambda: 0.0), folder


def test_a_snapshot_of_a_blank_volume_stays_blank(tmp_path: Path) -> None:
    path, folder = path_of(tmp_path)
    snapshots = {"snap-1": Snapshot("vol-1", 1)}
    path.apply(Storage({"vol-1": Volume(1)}, snapshots), ())
    (folder / "vol-1.img").write_bytes(b"later")
    path.apply(Storage({"vol-1": Volume(1), "vol-2": Volume(2, "snap-1")}, snapshots), ())
    restored = folder / "vol-2.img"
    assert (restored.stat().st_size, restored.stat().st_blocks) == (2 << 30, 0)


def test_chains_of_copies_and_what_is_deleted_at_once(tmp_path: Path) -> None:
    path, folder = path_of(tmp_path)
    (folder / "vol-1.img").write_bytes(b"content")
    snapshots = {
        "snap-1": Snapshot("vol-1", 1),
        "snap-2": Snapshot("vol-2", 1),
        "snap-3": Snapshot("vol-2", 1, "snap-2"),
    }
    volumes = {"vol-2": Volume(1, "snap-1"), "vol-3": Volume(1, "snap-3")}
    # vol-1 was deleted in the same moment.
    path.apply(Storage(volumes, snapshots), ())
    assert sorted(os.listdir(folder)) == ["vol-2.img", "vol-3.img"]
    with (folder / "vol-3.img").open("rb") as file:
        assert file.read(7) == b"content"
    path.apply(Storage({}, {}), ())
    assert os.listdir(folder) == os.listdir(tmp_path / "snapshots") == []
