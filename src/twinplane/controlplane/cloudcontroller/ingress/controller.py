"""The ingress controller: every group of Ingresses of class `alb` has an Application Load Balancer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from twinplane.controlplane.cloudcontroller import nodes
from twinplane.controlplane.cloudcontroller.aws import Aws, AwsError, Unbuildable
from twinplane.controlplane.cloudcontroller.elbv2.model import group_resource_name
from twinplane.controlplane.cloudcontroller.elbv2.observed import observe
from twinplane.controlplane.cloudcontroller.elbv2.plan import plan
from twinplane.controlplane.cloudcontroller.ingress import model
from twinplane.controlplane.cloudcontroller.ingress.backends import Backends
from twinplane.controlplane.cloudcontroller.ingress.groups import (
    FINALIZER,
    GROUP_FINALIZER,
    Group,
    group_of,
    groups_held,
    in_order,
    is_member,
    is_ours,
)
from twinplane.controlplane.cloudcontroller.network import (
    ClusterNetwork,
    GroupModel,
    admit_to_nodes,
    delete_group,
    ensure_group,
    subnets,
)
from twinplane.controlplane.controllers.contract import Context, Enqueue, Handler, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, finalizers_of, is_deleting, labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, NODES, SERVICES

BY_GROUP = "alb-group"
BY_SERVICE = "service"
BY_BACKEND = "alb-backend"
SERVICE_LABEL = "kubernetes.io/service-name"


class IngressController:
    name = "alb-ingress-controller"
    workers = 2

    def __init__(self, context: Context, aws: Aws, network: ClusterNetwork) -> None:
        self._client = context.client
        self._events = context.events
        self._aws = aws
        self._network = network
        self._ingresses = context.informers.of(INGRESSES)
        self._classes = context.informers.of(INGRESS_CLASSES)
        self._services = context.informers.of(SERVICES)
        self._slices = context.informers.of(ENDPOINT_SLICES)
        self._nodes = context.informers.of(NODES)
        self._backends = Backends(network, self._service, self._slices_of, self._instances)

    # -- what wakes it up --------------------------------------------------------------------------------------------

    def watch(self, enqueue: Enqueue) -> None:
        def on_ingress(old: Object | None, new: Object | None) -> None:
            if old is not None and new is not None and _view(old) == _view(new):
                return
            for ingress in (old, new):
                for group in _groups(ingress) if ingress else ():
                    enqueue(Key(*group))

        def on_node(old: Object | None, new: Object | None) -> None:
            if nodes.matters(old, new):
                everything(None, None)

        def everything(_old: Object | None, _new: Object | None) -> None:
            for ingress in self._ingresses.list():
                for group in _groups(ingress):
                    enqueue(Key(*group))

        self._ingresses.add_index(BY_GROUP, lambda ingress: [group.id for group in _groups(ingress)])
        self._ingresses.add_index(BY_BACKEND, _backend_services)
        self._slices.add_index(BY_SERVICE, _slice_service)
        self._ingresses.add_handler(on_ingress)
        self._classes.add_handler(everything)
        self._nodes.add_handler(on_node)
        self._services.add_handler(self._on_backend(enqueue, lambda entry: [f"{namespace_of(entry)}/{name_of(entry)}"]))
        self._slices.add_handler(self._on_backend(enqueue, _slice_service))

    def _on_backend(self, enqueue: Enqueue, names: Callable[[Object], list[str]]) -> Handler:
        def changed(old: Object | None, new: Object | None) -> None:
            entry = new or old
            for name in names(entry) if entry else ():
                for ingress in self._ingresses.by_index(BY_BACKEND, name):
                    enqueue(Key(*group_of(ingress)))

        return changed

    # -- what it does ------------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        group = Group(key.namespace, key.name)
        classes = {name_of(entry): entry.get("spec", {}).get("controller", "") for entry in self._classes.list()}
        present = self._ingresses.by_index(BY_GROUP, group.id)
        members = [ingress for ingress in present if is_member(ingress, group, classes)]
        leaving = [
            ingress for ingress in present if ingress not in members and group.finalizer in finalizers_of(ingress)
        ]
        if not members and not leaving:
            return None
        try:
            members = in_order(members)
            if members:
                await self._ensure(group, members)
            else:
                await self._remove(group)
        except Unbuildable as error:
            raise self._failed(members or leaving, "FailedBuildModel", f"Failed build model due to {error}") from error
        except AwsError as error:
            raise self._failed(
                members or leaving, "FailedDeployModel", f"Failed deploy model due to {error}"
            ) from error
        for ingress in leaving:
            await self._let_go(ingress, group, classes)
        return None

    def _failed(self, ingresses: Sequence[Object], reason: str, message: str) -> ApiError:
        for ingress in ingresses:
            self._events.event(ingress, "Warning", reason, message)
        return ApiError("ServiceUnavailable", message)

    async def _ensure(self, group: Group, members: Sequence[Object]) -> None:
        for ingress in members:
            await self._set_finalizer(ingress, group, present=True)
        scheme = model.scheme(members)
        zones = await subnets(self._aws, self._network, scheme, model.first(members, "subnets"))
        name = model.load_balancer_name(group, members, self._network.cluster)
        groups = await self._security_groups(group, members)
        wanted = model.stack(group, members, self._backends, subnets=zones, security_groups=groups)
        owner = model.owner_tags(group, self._network.cluster)
        observed = await observe(self._aws, name, owner)
        steps, known = plan(wanted, observed)
        await self._aws.apply(steps, known)
        balancer = observed.load_balancer
        if balancer is None or any(step.operation == "create_load_balancer" for step in steps):
            balancer = (await observe(self._aws, name, owner)).load_balancer
        hostname = balancer.dns_name if balancer else ""
        for ingress in members:
            moved = await self._set_status(ingress, hostname)
            if moved or steps:
                self._events.event(ingress, "Normal", "SuccessfullyReconciled", "Successfully reconciled")

    async def _remove(self, group: Group) -> None:
        owner = model.owner_tags(group, self._network.cluster)
        steps, known = plan(None, await observe(self._aws, "", owner))
        await self._aws.apply(steps, known)
        await delete_group(self._aws, self._network, self._group_name(group))

    def _group_name(self, group: Group) -> str:
        return group_resource_name(group.id, self._network.cluster, "managed")

    async def _security_groups(self, group: Group, members: Sequence[Object]) -> tuple[str, ...]:
        """Those of the annotation, or one that the controller manages and nodes admit."""
        named = model.first(members, "security-groups")
        if named:
            return named
        tags = model.owner_tags(group, self._network.cluster) | {"ingress.k8s.aws/resource": "ManagedLBSecurityGroup"}
        description = "[k8s] Managed SecurityGroup for LoadBalancer"
        managed = GroupModel(self._group_name(group), description, tags, model.inbound(members))
        group_id = await ensure_group(self._aws, self._network, managed)
        await admit_to_nodes(self._aws, self._network, group_id)
        return (group_id,)

    async def _let_go(self, ingress: Object, group: Group, classes: Mapping[str, str]) -> None:
        if not is_deleting(ingress) and not is_ours(ingress, classes):
            await self._set_status(ingress, "")
        await self._set_finalizer(ingress, group, present=False)

    async def _set_finalizer(self, ingress: Object, group: Group, *, present: bool) -> None:
        current = (await self._client.get(INGRESSES, name_of(ingress), namespace_of(ingress)))["metadata"]
        old = current.get("finalizers") or []
        new = [entry for entry in old if entry != group.finalizer] + ([group.finalizer] if present else [])
        if set(new) == set(old):
            return
        # With the version that was read, so that finalizers of others, set meanwhile, are not lost.
        patch = {"metadata": {"finalizers": new or None, "resourceVersion": current["resourceVersion"]}}
        await self._client.patch(INGRESSES, name_of(ingress), patch, namespace_of(ingress))

    async def _set_status(self, ingress: Object, hostname: str) -> bool:
        """Says whether it had to change."""
        present = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        wanted = [{"hostname": hostname}] if hostname else []
        if [entry.get("hostname") for entry in present] == [entry["hostname"] for entry in wanted]:
            return False
        patch = {"status": {"loadBalancer": {"ingress": wanted or None}}}
        await self._client.patch(INGRESSES, name_of(ingress), patch, namespace_of(ingress), subresource="status")
        return True

    # -- what stands behind ------------------------------------------------------------------------------------------

    def _service(self, namespace: str, name: str) -> Object | None:
        return self._services.get(name, namespace)

    def _slices_of(self, namespace: str, name: str) -> list[Object]:
        return self._slices.by_index(BY_SERVICE, f"{namespace}/{name}")

    def _instances(self, labels: Mapping[str, str]) -> frozenset[str]:
        present = (node for node in self._nodes.list() if nodes.receives(node))
        return frozenset(nodes.instance_id(node) for node in present if labels.items() <= labels_of(node).items())


def _groups(ingress: Object) -> list[Group]:
    """The group that it names, and those that its finalizers tell of."""
    return list(dict.fromkeys([group_of(ingress), *groups_held(ingress)]))


def _view(ingress: Object) -> object:
    """All but what this controller writes itself."""
    others = [entry for entry in finalizers_of(ingress) if entry != FINALIZER and not entry.startswith(GROUP_FINALIZER)]
    return ingress.get("spec"), annotations_of(ingress), is_deleting(ingress), others


def _backend_services(ingress: Object) -> Iterable[str]:
    spec = ingress.get("spec", {})
    backends = [spec.get("defaultBackend") or {}]
    for rule in spec.get("rules") or []:
        backends += [path.get("backend") or {} for path in (rule.get("http") or {}).get("paths") or []]
    names = {(backend.get("service") or {}).get("name", "") for backend in backends} - {""}
    return [f"{namespace_of(ingress)}/{name}" for name in names]


def _slice_service(entry: Object) -> list[str]:
    name = labels_of(entry).get(SERVICE_LABEL)
    return [f"{namespace_of(entry)}/{name}"] if name else []
