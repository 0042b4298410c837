"""PID 1 of a machine: boots it, keeps containerd and the node agent running, reaps what nobody waits for.

    python -P -m twinplane.dataplane.node DIRECTORY

is started by the region's machines inside the instance's network namespace and new mount, PID, UTS and IPC namespaces.
DIRECTORY is the machine's own (`boot` says what lies in it). When this process ends the kernel ends everything in the
machine, so it does little: the boot runs in a child, which takes its imports along when it ends.
"""

from __future__ import annotations

import os
import sys

from twinplane.dataplane.node.init import Init, Service

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PAUSE_ARCHIVE = "/run/twinplane/pause.tar"


def main() -> int:
    directory = sys.argv[1]
    boot = os.fork()
    if boot == 0:
        from twinplane.dataplane.node.boot import boot_machine

        return boot_machine(directory)
    _, status = os.waitpid(boot, 0)
    if status != 0:
        return 1
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": PATH}
    return Init(_services(), environment).run()


def _services() -> list[Service]:
    load = ("ctr", "--namespace=k8s.io", "--connect-timeout=30s", "images", "import", "--no-unpack", PAUSE_ARCHIVE)
    services = [
        Service("containerd", ("containerd", "--config=/etc/containerd/config.toml")),
        Service("agent", (sys.executable, "-P", "-m", "twinplane.dataplane.node.agent")),
    ]
    if os.path.exists(PAUSE_ARCHIVE):
        services.insert(1, Service("pause image", load, once=True))
    return services


if __name__ == "__main__":
    sys.exit(main())
