"""What a pod is called inside: hostname, domain, and the /etc/hosts that says so. Pure.

Source: kubelet `GeneratePodHostNameAndDomain` and `managedHostsFileContent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of

HOSTNAME_MAX = 63
FQDN_MAX = 64
MANAGED = "# Kubernetes-managed hosts file.\n"
MANAGED_HOST_NETWORK = "# Kubernetes-managed hosts file (host network).\n"
LOOPBACK = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::0", "ip6-localnet"),
    ("fe00::0", "ip6-mcastprefix"),
    ("fe00::1", "ip6-allnodes"),
    ("fe00::2", "ip6-allrouters"),
)


class HostNames(NamedTuple):
    hostname: str
    domain: str
    """Empty without a subdomain."""

    @property
    def fqdn(self) -> str:
        return f"{self.hostname}.{self.domain}" if self.domain else self.hostname


def host_names(pod: Object, cluster_domain: str) -> HostNames:
    spec = pod["spec"]
    if spec.get("hostnameOverride"):
        return HostNames(spec["hostnameOverride"], "")
    hostname = spec.get("hostname") or name_of(pod)[:HOSTNAME_MAX].rstrip("-.")
    subdomain = spec.get("subdomain")
    domain = f"{subdomain}.{namespace_of(pod)}.svc.{cluster_domain}" if subdomain else ""
    return HostNames(hostname, domain)


def sandbox_hostname(pod: Object, names: HostNames) -> str:
    """Raises ValueError for an FQDN that the kernel would not take."""
    if not (pod["spec"].get("setHostnameAsFQDN") and names.domain):
        return names.hostname
    if len(names.fqdn) > FQDN_MAX:
        raise ValueError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {names.fqdn} is too long "
            f"({FQDN_MAX} characters is the max, {len(names.fqdn)} characters requested)"
        )
    return names.fqdn


def hosts_file(pod: Object, names: HostNames, ips: Sequence[str], host_file: str | None) -> str:
    """`host_file` is the node's own /etc/hosts, for a pod on the host's network."""
    if host_file is not None:
        text = MANAGED_HOST_NETWORK + host_file
    else:
        lines = [f"{address}\t{name}\n" for address, name in LOOPBACK]
        shown = f"{names.fqdn}\t{names.hostname}" if names.domain else names.hostname
        text = MANAGED + "".join(lines) + "".join(f"{ip}\t{shown}\n" for ip in ips)
    return text + _aliases(pod["spec"].get("hostAliases") or [])


def _aliases(aliases: Sequence[dict[str, Any]]) -> str:
    if not aliases:
        return ""
    lines = ("{}\t{}\n".format(item["ip"], "\t".join(item.get("hostnames") or ())) for item in aliases)
    return "\n# Entries added by HostAliases.\n" + "".join(lines)
