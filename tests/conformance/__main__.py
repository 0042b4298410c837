"""Runs upstream's e2e binary, group by group, against a region of its own: `python -m tests.conformance --help`.

Nothing else starts this: the binary is built from k8s.io/kubernetes by hand (docs/conformance.md), and a run takes
half an hour.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance import images
from tests.conformance.groups import GROUPS, beyond_simulation
from tests.conformance.results import Result, read, surprises, table
from tests.region_process import RegionProcess

CLUSTER = "conformance"


def main() -> int:
    options = _options()
    # Stopped from outside, the region is still taken down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wanted = {"focus": options.focus} if options.focus else _groups(options.group)
    with _kubeconfig(options) as kubeconfig, tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        output = Path(options.output or scratch)
        found = [(name, _run(options, name, focus, kubeconfig, output)) for name, focus in wanted.items()]
    sys.stdout.write(table(found))
    for name in surprises(result for _, results in found for result in results):
        sys.stdout.write(f"passed, and can leave beyond_simulation.txt: {name}\n")
    return int(any(not result.passed and not result.needs for _, results in found for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--e2e", required=True, metavar="PATH", help="upstream's test binary")
    parser.add_argument("--ginkgo", default="ginkgo", metavar="PATH", help="ginkgo's command, of the binary's version")
    parser.add_argument("--group", action="append", choices=GROUPS, help="may be repeated (default: all)")
    parser.add_argument("--focus", metavar="REGEX", help="tests by name instead of groups")
    parser.add_argument("--skip", metavar="REGEX", default="", help="tests to leave out")
    parser.add_argument("--all", action="store_true", help="also the tests that simulated nodes cannot pass")
    parser.add_argument("--runtime", choices=("simulated", "containerd"), default="simulated", help="of the nodes")
    parser.add_argument("--agnhost", metavar="PATH", help="with containerd: upstream's test program")
    parser.add_argument("--nonewprivs", metavar="PATH", help="with containerd: the program of that test image")
    parser.add_argument("--sample-apiserver", metavar="PATH", help="with containerd: upstream's aggregated server")
    parser.add_argument("--procs", type=int, default=8, help="tests at a time, but for serial ones (default: 8)")
    parser.add_argument("--nodes", type=int, default=3, help="nodes (default: 3)")
    parser.add_argument("--timeout", default="60m", help="of a group (default: 60m)")
    parser.add_argument("--port", type=int, default=0, help="of the region's AWS endpoint (default: a free one)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="a cluster that exists, instead of a region of its own")
    parser.add_argument("--output", metavar="DIR", help="keep logs and reports there")
    options = parser.parse_args()
    if options.runtime == "containerd" and not options.kubeconfig and not options.agnhost:
        parser.error("--runtime containerd needs --agnhost")
    return options


def _groups(names: list[str] | None) -> dict[str, str]:
    return {name: focus for name, focus in GROUPS.items() if not names or name in names}


@contextmanager
def _kubeconfig(options: argparse.Namespace) -> Iterator[Path]:
    if options.kubeconfig:
        yield Path(options.kubeconfig).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="conformance-region-") as folder:
        region = RegionProcess(Path(folder), port=options.port)
        try:
            region.start()
            file = Path(folder) / "kubeconfig"
            nodes = ["--nodes", str(options.nodes), "--node-type", "m5.4xlarge"]
            if options.runtime == "containerd":
                nodes += ["--runtime", "containerd"]
                images.make(region.directory.images, images.programs_of(options))
            region.run("twinplane", "create", "cluster", "--name", CLUSTER, *nodes, "--kubeconfig", str(file))
            yield file
        finally:
            region.stop()


def _run(options: argparse.Namespace, name: str, focus: str, kubeconfig: Path, output: Path) -> list[Result]:
    folder = output / name
    folder.mkdir(parents=True, exist_ok=True)
    skipped, beyond = [options.skip] if options.skip else [], beyond_simulation()
    if not options.all and options.runtime == "simulated":
        skipped += [re.escape(name) for name in beyond]
    command = [
        options.ginkgo,
        f"-procs={options.procs}",
        f"-timeout={options.timeout}",
        f"-focus={focus}",
        *([f"-skip={'|'.join(skipped)}"] if skipped else []),
        *("-silence-skips", "-no-color", "-json-report=report.json", f"-output-dir={folder}"),
        *(str(Path(options.e2e).resolve()), "--"),
        *(f"--kubeconfig={kubeconfig}", "--provider=skeleton", f"--num-nodes={options.nodes}"),
        *("--minStartupPods=0", "--allowed-not-ready-nodes=0", f"--e2e-output-dir={folder}"),
    ]
    sys.stderr.write(f"{name} ...\n")
    with (folder / "log").open("wb") as log:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        # Its exit status says only whether all tests passed, which the report says as well.
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False, env=environment, cwd=folder)
    return read(folder / "report.json", beyond if options.runtime == "simulated" else {})


if __name__ == "__main__":
    sys.exit(main())
