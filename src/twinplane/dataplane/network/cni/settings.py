"""Configuration of the VPC CNI: the environment of the aws-node DaemonSet, with the names and defaults of EKS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MTU = 9001


@dataclass(frozen=True, slots=True)
class Settings:
    warm_eni_target: int = 1
    warm_ip_target: int | None = None
    minimum_ip_target: int | None = None
    max_eni: int | None = None
    external_snat: bool = False
    exclude_snat_cidrs: tuple[str, ...] = ()
    veth_prefix: str = "eni"
    mtu: int = MTU
    cooldown_seconds: float = 30.0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """A value that makes no sense counts as not set, as in ipamd."""
        warm_eni = _number(environment, "WARM_ENI_TARGET")
        mtu = _number(environment, "AWS_VPC_ENI_MTU")
        cooldown = _number(environment, "IP_COOLDOWN_PERIOD")
        excluded = environment.get("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "")
        return cls(
            warm_eni_target=1 if warm_eni is None else warm_eni,
            warm_ip_target=_number(environment, "WARM_IP_TARGET") or None,
            minimum_ip_target=_number(environment, "MINIMUM_IP_TARGET") or None,
            max_eni=_number(environment, "MAX_ENI") or None,
            external_snat=environment.get("AWS_VPC_K8S_CNI_EXTERNALSNAT", "").lower() == "true",
            exclude_snat_cidrs=tuple(item.strip() for item in excluded.split(",") if item.strip()),
            veth_prefix=environment.get("AWS_VPC_K8S_CNI_VETHPREFIX") or "eni",
            mtu=mtu if mtu is not None and 576 <= mtu <= MTU else MTU,
            cooldown_seconds=30.0 if cooldown is None else float(cooldown),
        )

    @property
    def by_addresses(self) -> bool:
        """WARM_IP_TARGET or MINIMUM_IP_TARGET take the place of WARM_ENI_TARGET."""
        return self.warm_ip_target is not None or self.minimum_ip_target is not None


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    return int(text) if text.isdecimal() else None
