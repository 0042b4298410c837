"""The resolv.conf of a pod, by its dnsPolicy. Pure. Source: kubelet `network/dns/dns.go`."""

from __future__ import annotations

from dataclasses import dataclass, field

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.pods.spec import is_host_network
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import namespace_of

NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_CHARACTERS_MAX = 2048
CLUSTER_OPTIONS = ("ndots:5",)


@dataclass(frozen=True, slots=True)
class Resolver:
    """What a resolv.conf says."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(slots=True)
class PodDns:
    config: cri.DNSConfig
    warnings: list[str] = field(default_factory=list)
    """For events of reason DNSConfigForming."""


def parse_resolv_conf(text: str) -> Resolver:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) >= 2 and words[0] == "nameserver":
            servers.append(words[1])
        elif words and words[0] == "search":
            searches = [word.rstrip(".") or "." for word in words[1:]]
        elif words and words[0] == "options":
            options = words[1:]
    return Resolver(tuple(servers), tuple(searches), tuple(options))


def pod_dns(pod: Object, host: Resolver, cluster_dns: str, cluster_domain: str) -> PodDns:
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and is_host_network(pod):
        policy = "Default"
    servers, searches, options = list(host.servers), list(host.searches), list(host.options)
    if policy == "None":
        servers, searches, options = [], [], []
    elif policy.startswith("ClusterFirst") and cluster_dns:
        namespace = namespace_of(pod)
        cluster = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        servers, searches, options = [cluster_dns], cluster + searches, list(CLUSTER_OPTIONS)
    own = spec.get("dnsConfig") or {}
    servers = _unique([*servers, *(own.get("nameservers") or ())])
    searches = _unique([*searches, *(own.get("searches") or ())])
    options = _merged_options(options, own.get("options") or [])
    return _within_limits(servers, searches, options)


def _unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _merged_options(options: list[str], own: list[dict[str, str]]) -> list[str]:
    by_name = {option.partition(":")[0]: option for option in options}
    for item in own:
        name, value = item.get("name") or "", item.get("value")
        by_name[name] = f"{name}:{value}" if value else name
    return list(by_name.values())


def _within_limits(servers: list[str], searches: list[str], options: list[str]) -> PodDns:
    warnings = []
    if len(servers) > NAMESERVERS_MAX:
        servers = servers[:NAMESERVERS_MAX]
        warnings.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(servers)}"
        )
    kept = searches[:SEARCHES_MAX]
    while len(" ".join(kept)) > SEARCH_CHARACTERS_MAX:
        kept.pop()
    if len(kept) < len(searches):
        warnings.append(
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(kept)}"
        )
    return PodDns(cri.DNSConfig(servers=servers, searches=kept, options=options), warnings)
