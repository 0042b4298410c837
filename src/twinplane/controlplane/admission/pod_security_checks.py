"""The Pod Security Standards as a table of checks: each looks at a pod and says what is wrong, in upstream's words.

A check is a function of the pod's metadata and spec; the table orders them as upstream's messages have them. Only
`pod_security` calls this. Source: kubernetes.io/docs/concepts/security/pod-security-standards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from twinplane.controlplane.admission.plugin import entries
from twinplane.kubeclient.contract import Object

LEVELS = ("privileged", "baseline", "restricted")
Check = Callable[[Object, Object], str]
"""(metadata, spec) -> what is forbidden, empty when all is well."""

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_VOLUMES = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret image".split()  # noqa: SIM905
)
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def violations(level: str, version: str, metadata: Object, spec: Object) -> list[str]:
    """What a pod does that the level forbids; the levels contain one another."""
    minor = int(version.removeprefix("v1.")) if version.startswith("v1.") else 1_000
    checks = {"privileged": (), "baseline": _BASELINE, "restricted": _RESTRICTED}[level]
    found = (check(metadata, spec) for check, since in checks if minor >= since)
    return [text for text in found if text]


def _containers(spec: Object) -> list[Object]:
    return entries(spec, *_CONTAINERS)


def _security(holder: Object) -> Object:
    found = holder.get("securityContext")
    return found if isinstance(found, dict) else {}


def _names(containers: Iterable[Object]) -> str:
    """`container "a"` or `containers "a", "b"`."""
    quoted = [f'"{container.get("name", "")}"' for container in containers]
    return f"container{'s' if len(quoted) > 1 else ''} {', '.join(quoted)}"


def _plural(many: str, one: str, things: Sized) -> str:
    return many if len(things) > 1 else one


def _quoted(values: Iterable[Any]) -> str:
    return ", ".join(f'"{value}"' for value in sorted({str(value) for value in values}))


def _host_namespaces(metadata: Object, spec: Object) -> str:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return f"host namespaces ({', '.join(used)})" if used else ""


def _privileged(metadata: Object, spec: Object) -> str:
    bad = [each for each in _containers(spec) if _security(each).get("privileged")]
    verb = "must not set securityContext.privileged=true"
    return f"privileged ({_names(bad)} {verb})" if bad else ""


def _added(container: Object) -> list[str]:
    return list((_security(container).get("capabilities") or {}).get("add") or ())


def _baseline_capabilities(metadata: Object, spec: Object) -> str:
    bad = [each for each in _containers(spec) if set(_added(each)) - _CAPABILITIES]
    extra = {name for each in bad for name in _added(each)} - _CAPABILITIES
    if not bad:
        return ""
    what = f"must not include {_quoted(extra)} in securityContext.capabilities.add"
    return f"non-default capabilities ({_names(bad)} {what})"


def _host_path(metadata: Object, spec: Object) -> str:
    bad = [str(each.get("name", "")) for each in entries(spec, "volumes") if each.get("hostPath") is not None]
    return f"hostPath volumes (volume{'s' if len(bad) > 1 else ''} {_quoted(bad)})" if bad else ""


def _host_ports(metadata: Object, spec: Object) -> str:
    bad, ports = [], set()
    for container in _containers(spec):
        mine = {port["hostPort"] for port in entries(container, "ports") if port.get("hostPort")}
        if mine:
            bad.append(container)
            ports |= mine
    if not bad:
        return ""
    listed = ", ".join(str(port) for port in sorted(ports))
    verb = f"{_plural('use', 'uses', bad)} hostPort{_plural('s', '', ports)}"
    return f"hostPort ({_names(bad)} {verb} {listed})"


def _app_armor(metadata: Object, spec: Object) -> str:
    annotations = metadata.get("annotations") or {}
    bad = [
        f'"{key}={value}"'
        for key, value in sorted(annotations.items())
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    return f"forbidden AppArmor profile{'s' if len(bad) > 1 else ''} ({', '.join(bad)})" if bad else ""


def _selinux(metadata: Object, spec: Object) -> str:
    options = [_security(each).get("seLinuxOptions") or {} for each in (spec, *_containers(spec))]
    types = {str(each.get("type") or "") for each in options} - _SELINUX_TYPES
    parts = [f"type{'s' if len(types) > 1 else ''} {_quoted(types)}"] if types else []
    parts += [f"{field} may not be set" for field in ("user", "role") if any(each.get(field) for each in options)]
    return f"seLinuxOptions ({'; '.join(parts)})" if parts else ""


def _proc_mount(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    bad = [each for each in _containers(spec) if _security(each).get("procMount") not in (None, "", "Default")]
    values = _quoted(_security(each).get("procMount") for each in bad)
    return f"procMount ({_names(bad)} must not set securityContext.procMount to {values})" if bad else ""


def _profile(holder: Object) -> str:
    return str((_security(holder).get("seccompProfile") or {}).get("type") or "")


def _baseline_seccomp(metadata: Object, spec: Object) -> str:
    bad = [each for each in _containers(spec) if _profile(each) == "Unconfined"]
    setters = (["pod"] if _profile(spec) == "Unconfined" else []) + ([_names(bad)] if bad else [])
    if not setters:
        return ""
    return f'seccompProfile ({" and ".join(setters)} must not set securityContext.seccompProfile.type to "Unconfined")'


def _sysctls(metadata: Object, spec: Object) -> str:
    bad = {str(each.get("name")) for each in entries(_security(spec), "sysctls")} - _SYSCTLS
    return f"forbidden sysctls ({', '.join(sorted(bad))})" if bad else ""


def _host_process(metadata: Object, spec: Object) -> str:
    def uses(holder: Object) -> bool:
        return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))

    bad = [each for each in _containers(spec) if uses(each)]
    setters = (["pod"] if uses(spec) else []) + ([_names(bad)] if bad else [])
    verb = "must not set securityContext.windowsOptions.hostProcess=true"
    return f"hostProcess ({' and '.join(setters)} {verb})" if setters else ""


def _host_probes(metadata: Object, spec: Object) -> str:
    bad = [each for each in _containers(spec) if any(_probe_hosts(each))]
    hosts = _quoted(host for each in bad for host in _probe_hosts(each))
    if not bad:
        return ""
    verb = f"{_plural('use', 'uses', bad)} host{'s' if ',' in hosts else ''}"
    return f"probe or lifecycle host ({_names(bad)} {verb} {hosts})"


def _probe_hosts(container: Object) -> Iterator[str]:
    handlers = [container.get(key) or {} for key in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [(container.get("lifecycle") or {}).get(key) or {} for key in ("postStart", "preStop")]
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            host = (handler.get(kind) or {}).get("host")
            if host and host not in ("127.0.0.1", "::1"):
                yield host


def _is_windows(spec: Object) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _restricted_volumes(metadata: Object, spec: Object) -> str:
    bad, kinds = [], set()
    for volume in entries(spec, "volumes"):
        used = {key for key, value in volume.items() if key != "name" and value is not None}
        if used - _VOLUMES:
            bad.append(str(volume.get("name", "")))
            kinds |= used - _VOLUMES
    if not bad:
        return ""
    volumes = f"volume{_plural('s', '', bad)} {_quoted(bad)}"
    types = f"{_plural('use', 'uses', bad)} restricted volume type{_plural('s', '', kinds)} {_quoted(kinds)}"
    return f"restricted volume types ({volumes} {types})"


def _privilege_escalation(metadata: Object, spec: Object) -> str:
    if _is_windows(spec):
        return ""
    bad = [each for each in _containers(spec) if _security(each).get("allowPrivilegeEscalation") is not False]
    verb = "must set securityContext.allowPrivilegeEscalation=false"
    return f"allowPrivilegeEscalation != false ({_names(bad)} {verb})" if bad else ""


def _restricted_capabilities(metadata: Object, spec: Object) -> str:
    if _is_windows(spec):
        return ""
    containers = _containers(spec)
    keeping = [
        each for each in containers if "ALL" not in ((_security(each).get("capabilities") or {}).get("drop") or ())
    ]
    adding = [each for each in containers if set(_added(each)) - {"NET_BIND_SERVICE"}]
    parts = []
    if keeping:
        parts.append(f'{_names(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        extra = {name for each in adding for name in _added(each)} - {"NET_BIND_SERVICE"}
        parts.append(f"{_names(adding)} must not include {_quoted(extra)} in securityContext.capabilities.add")
    return f"unrestricted capabilities ({'; '.join(parts)})" if parts else ""


def _non_root(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    values = [(each, _security(each).get("runAsNonRoot")) for each in _containers(spec)]
    whole = _security(spec).get("runAsNonRoot")
    explicit = [each for each, value in values if value is False]
    implicit = [each for each, value in values if value is None] if not whole else []
    if explicit or (whole is False and implicit):
        setters = (["pod"] if whole is False else []) + ([_names(explicit)] if explicit else [])
        return f"runAsNonRoot != true ({' and '.join(setters)} must not set securityContext.runAsNonRoot=false)"
    if implicit:
        return f"runAsNonRoot != true (pod or {_names(implicit)} must set securityContext.runAsNonRoot=true)"
    return ""


def _root_user(metadata: Object, spec: Object) -> str:
    if spec.get("hostUsers") is False:
        return ""
    bad = [each for each in _containers(spec) if _security(each).get("runAsUser") == 0]
    setters = (["pod"] if _security(spec).get("runAsUser") == 0 else []) + ([_names(bad)] if bad else [])
    return f"runAsUser=0 ({' and '.join(setters)} must not set runAsUser=0)" if setters else ""


def _restricted_seccomp(metadata: Object, spec: Object) -> str:
    if _is_windows(spec):
        return ""
    good = ("RuntimeDefault", "Localhost")
    explicit = [each for each in _containers(spec) if _profile(each) and _profile(each) not in good]
    whole = _profile(spec)
    setters = (["pod"] if whole and whole not in good else []) + ([_names(explicit)] if explicit else [])
    if setters:
        values = _quoted(value for value in (whole, *map(_profile, explicit)) if value and value not in good)
        return f"seccompProfile ({' and '.join(setters)} must not set securityContext.seccompProfile.type to {values})"
    implicit = [each for each in _containers(spec) if not _profile(each)] if not whole else []
    wanted = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"seccompProfile (pod or {_names(implicit)} {wanted})" if implicit else ""


_SHARED: tuple[tuple[Check, int], ...] = (
    (_app_armor, 0),
    (_host_namespaces, 0),
    (_host_path, 0),
    (_host_ports, 0),
    (_host_probes, 34),
    (_host_process, 0),
    (_privileged, 0),
    (_proc_mount, 0),
    (_selinux, 0),
    (_sysctls, 0),
)
"""Checks of both levels, each with the minor version that brought it."""

_BASELINE = (*_SHARED, (_baseline_capabilities, 0), (_baseline_seccomp, 19))
_RESTRICTED = (
    *_SHARED,
    (_privilege_escalation, 8),
    (_restricted_capabilities, 22),
    (_restricted_volumes, 0),
    (_non_root, 0),
    (_root_user, 23),
    (_restricted_seccomp, 19),
)
