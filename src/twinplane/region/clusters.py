"""The processes of each cluster: its control plane and its simulated nodes. What EKS calls when it makes a cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import shutil
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from twinplane import edge
from twinplane.clock import Clock
from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.eks.contract import ControlPlaneEndpoint, ControlPlaneSpec
from twinplane.controlplane import node_fleet
from twinplane.controlplane.audit.policy import EKS_POLICY
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.dataplane.simulation.config import SimulationConfig
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.http import HttpClient
from twinplane.region import stores
from twinplane.region.certificates import CertificateAuthority, Subject, public_key, service_account_key
from twinplane.region.data_directory import DataDirectory, write_atomically
from twinplane.region.draining import drain
from twinplane.region.ports import kept_ports
from twinplane.region.processes import Processes, ProcessSpec, held
from twinplane.region.readiness import wait_until_ready
from twinplane.region.settings import Settings

LOG = logging.getLogger(__name__)

DRAIN_SECONDS_MAX = 90.0
"""After that the instances of a deleted node group are terminated with what runs on them."""
PORTS = ("apiserver", "kubelet", "endpoints")
SCHEDULER_CONFIG = "kube-scheduler.yaml"
CONTROLLER_MANAGER_CONFIG = "kube-controller-manager.yaml"
"""Files that a user may put into a cluster's folder (`clusters/NAME/`)."""

Credentials = Callable[[str], AwsCredentials]
"""Name of a role session -> keys of the region's own for it."""


def control_plane_process(cluster: str, replica: int = 0) -> str:
    return f"{cluster}.controlplane-{replica}" if replica else f"{cluster}.controlplane"


def simulation_process(cluster: str) -> str:
    return f"{cluster}.simulation"


class ClusterProcesses:
    """Implements `ControlPlanes` of the EKS service with child processes of the region."""

    def __init__(
        self, directory: DataDirectory, settings: Settings, processes: Processes, credentials: Credentials, clock: Clock
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._processes = processes
        self._credentials = credentials
        self._clock = clock

    async def provision(self, spec: ControlPlaneSpec) -> ControlPlaneEndpoint:
        folder = self._directory.cluster(spec.name)
        # Key generation takes some tens of milliseconds of processor time; the endpoint goes on answering meanwhile.
        configuration, changed = await asyncio.to_thread(self._prepare, folder, spec)
        if changed:
            await self._stop_replicas(spec.name, 0)
        module = "twinplane.controlplane"
        for replica in range(configuration.replicas):
            name = control_plane_process(spec.name, replica)
            which = ("--replica", str(replica), "--replicas", str(configuration.replicas))
            self._processes.ensure(self._process(name, module, folder / "controlplane.json", *which))
        await self._stop_replicas(spec.name, configuration.replicas)
        module = "twinplane.dataplane.simulation"
        self._processes.ensure(self._process(simulation_process(spec.name), module, folder / "simulation.json"))
        if not held(self._directory, control_plane_process(spec.name)):
            await wait_until_ready(configuration, self._directory.log(control_plane_process(spec.name)))
        authority = configuration.certificate_authority().encode()
        return ControlPlaneEndpoint(configuration.url, base64.b64encode(authority).decode())

    def token_key(self, name: str) -> str:
        path = self._directory.cluster(name) / "pki" / "sa.key"
        return public_key(path) if path.exists() else ""

    async def drain(self, name: str, nodegroup: str, node: str = "") -> None:
        configuration = await asyncio.to_thread(stores.configured, self._directory.cluster(name))
        if configuration is None or held(self._directory, control_plane_process(name)):
            return
        context = ssl.create_default_context(cafile=configuration.ca_file)
        context.load_cert_chain(configuration.kubelet_client_certificate_file, configuration.kubelet_client_key_file)
        try:
            async with asyncio.timeout(DRAIN_SECONDS_MAX), HttpClient(configuration.url, context) as client:
                await drain(client, nodegroup, node)
        except (ApiError, OSError) as error:
            # TimeoutError too.
            what = node or f"node group {nodegroup}"
            LOG.warning("%s of %s is not empty: %s", what, name, error or "out of time")

    async def deprovision(self, name: str) -> None:
        folder = self._directory.cluster(name)
        await asyncio.gather(self._processes.stop(simulation_process(name)), self._stop_replicas(name, 0))
        configuration = stores.configured(folder)
        if configuration is not None:
            await stores.forget(configuration)
        await asyncio.to_thread(shutil.rmtree, folder, True)

    async def _stop_replicas(self, name: str, first: int) -> None:
        """Those from number `first` on, also such that an earlier daemon started."""
        found = self._directory.processes.glob(f"{control_plane_process(name)}*.json")
        wanted = {control_plane_process(name, replica) for replica in range(first)}
        unwanted = {path.stem for path in found if path.stem not in wanted}
        await asyncio.gather(*(self._processes.stop(each) for each in unwanted))

    def endpoint_port(self, cluster: str) -> int | None:
        """Where the simulated nodes of a cluster accept the connections of load balancers."""
        path = self._directory.cluster(cluster) / "ports.json"
        return int(json.loads(path.read_text())["endpoints"]) if path.exists() else None

    def _process(self, name: str, module: str, configuration: Path, *more: str) -> ProcessSpec:
        return ProcessSpec(name, (sys.executable, "-P", "-m", module, "--config", str(configuration), *more))

    def _prepare(self, folder: Path, spec: ControlPlaneSpec) -> tuple[ControlPlaneConfiguration, bool]:
        """Certificates, ports and configuration files; whether the control plane runs with another one so far."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = kept_ports(folder / "ports.json", PORTS, self._settings.host)
        pki = folder / "pki"
        authority = CertificateAuthority(pki, self._clock.now())
        configuration = self._control_plane(folder, spec, authority, ports)
        file = folder / "controlplane.json"
        changed = file.exists() and file.read_text() != configuration.dump()
        write_atomically(file, configuration.dump())
        write_atomically(folder / "simulation.json", self._simulation(folder, spec, authority, ports))
        return configuration, changed

    def _control_plane(
        self, folder: Path, spec: ControlPlaneSpec, authority: CertificateAuthority, ports: dict[str, int]
    ) -> ControlPlaneConfiguration:
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        first_service_address = _first_address(spec.service_ipv4_cidr)
        addresses = [*names, "localhost", "127.0.0.1", self._settings.host, first_service_address]
        server = authority.issue("apiserver", Subject("kube-apiserver", addresses=list(dict.fromkeys(addresses))))
        kubelet_client = authority.issue(
            "apiserver-kubelet-client", Subject("kube-apiserver-kubelet-client", ["system:masters"])
        )
        keys = self._credentials(f"AWSServiceRoleForAmazonEKS/{spec.name}")
        etcd = stores.etcd_for(folder, self._settings, spec.name, spec.oidc_id)
        return ControlPlaneConfiguration(
            cluster=spec.name,
            version=spec.version,
            region=spec.region,
            account_id=spec.account_id,
            vpc_id=spec.vpc_id,
            service_cidr=spec.service_ipv4_cidr,
            host=self._settings.host,
            port=ports["apiserver"],
            interface_addresses=spec.interface_addresses,
            edges_file=str(self._directory.root / edge.FILE),
            scheduler_config_file=_if_there(folder / SCHEDULER_CONFIG),
            controller_manager_config_file=_if_there(folder / CONTROLLER_MANAGER_CONFIG),
            store=str(folder / "store.sqlite"),
            ca_file=str(authority.certificate_path),
            ca_key_file=str(authority.certificate_path.with_name("ca.key")),
            certificate_file=str(server.certificate),
            key_file=str(server.key),
            kubelet_client_certificate_file=str(kubelet_client.certificate),
            kubelet_client_key_file=str(kubelet_client.key),
            service_account_key_file=str(service_account_key(folder / "pki" / "sa.key")),
            issuer=f"https://oidc.eks.{spec.region}.amazonaws.com/id/{spec.oidc_id}",
            aws_endpoint=self._settings.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            etcd=etcd,
            audit_policy_file=str(EKS_POLICY) if spec.audit else "",
            audit_log_file=str(self._directory.log(f"{control_plane_process(spec.name)}.audit")) if spec.audit else "",
            replicas=1 if etcd is None else self._settings.control_plane_replicas,
        )

    def _simulation(
        self, folder: Path, spec: ControlPlaneSpec, authority: CertificateAuthority, ports: dict[str, int]
    ) -> str:
        client = authority.issue("simulation", Subject(node_fleet.USER, [node_fleet.GROUP]))
        server = authority.issue("kubelet", Subject("system:node:fleet", ["system:nodes"], ["127.0.0.1", "localhost"]))
        keys = self._credentials(f"AWSServiceRoleForAmazonEKSNodegroup/{spec.name}")
        return SimulationConfig(
            cluster=spec.name,
            region=spec.region,
            version=spec.version,
            api_server=f"https://{self._settings.host}:{ports['apiserver']}",
            certificate_authority_file=str(authority.certificate_path),
            client_certificate_file=str(client.certificate),
            client_key_file=str(client.key),
            aws_endpoint=self._settings.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            aws_session_token=keys.session_token,
            data_dir=str(folder),
            endpoint_port=ports["endpoints"],
            kubelet_port=ports["kubelet"],
            kubelet_certificate_file=str(server.certificate),
            kubelet_key_file=str(server.key),
            kubelet_client_ca_file=str(authority.certificate_path),
            aliases_file=str(self._directory.load_balancing / "aliases.json"),
        ).dump()


def _if_there(path: Path) -> str:
    return str(path) if path.exists() else ""


def _first_address(cidr: str) -> str:
    from ipaddress import IPv4Network

    return str(IPv4Network(cidr)[1])
