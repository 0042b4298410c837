"""Access entries: which IAM principals may enter a cluster, as whom.

Entries are kept for every cluster, whatever its authentication mode, because the API server learns from them who the
creator and the nodes are; the API shows and changes them only in the modes that have the API.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from twinplane.cloud.eks.call import Call, Context, Operation, page, public
from twinplane.cloud.eks.errors import EksError, in_use, invalid_parameter, invalid_request, not_found
from twinplane.cloud.eks.state import Record
from twinplane.cloud.identity import Identity

_POLICY_PREFIX = "arn:aws:eks::aws:cluster-access-policy/"
ADMIN_POLICY = _POLICY_PREFIX + "AmazonEKSClusterAdminPolicy"

POLICIES = (
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSAutoNodePolicy",
    "AmazonEKSBlockStorageClusterPolicy",
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSClusterInsightsPolicy",
    "AmazonEKSComputeClusterPolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSEventPolicy",
    "AmazonEKSHybridPolicy",
    "AmazonEKSLoadBalancingClusterPolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingClusterPolicy",
    "AmazonEKSNetworkingPolicy",
    "AmazonEKSViewPolicy",
)

# type of entry -> (username, groups); STANDARD entries say both themselves.
_NODE_TYPES = {
    "EC2_LINUX": ("system:node:{{EC2PrivateDNSName}}", ["system:nodes"]),
    "EC2_WINDOWS": ("system:node:{{EC2PrivateDNSName}}", ["eks:kube-proxy-windows", "system:nodes"]),
    "FARGATE_LINUX": ("system:node:{{SessionName}}", ["system:node-proxier", "system:nodes"]),
    "EC2": ("system:node:{{EC2PrivateDNSName}}", ["system:nodes"]),
    "HYBRID_LINUX": ("system:node:{{SessionName}}", ["system:nodes"]),
    "HYPERPOD_LINUX": ("system:node:{{SessionName}}", ["system:nodes"]),
}

_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):(user|role)/(.+)")
_RESERVED = re.compile(r"^(system:|eks:|aws:|amazon:|iam:)", re.IGNORECASE)


class AccessEntries:
    def __init__(self, context: Context) -> None:
        self._context = context

    def operations(self) -> dict[str, Operation]:
        return {
            "CreateAccessEntry": self._create,
            "DescribeAccessEntry": self._describe,
            "ListAccessEntries": self._list,
            "UpdateAccessEntry": self._update,
            "DeleteAccessEntry": self._delete,
            "AssociateAccessPolicy": self._associate,
            "DisassociateAccessPolicy": self._disassociate,
            "ListAssociatedAccessPolicies": self._associated,
            "ListAccessPolicies": self._policies,
        }

    # -- what other parts of the service do --------------------------------------------------------------------------

    def add_service(self, cluster: str) -> None:
        """The entry of EKS itself, through which it looks into the cluster."""
        role = "AWSServiceRoleForAmazonEKS"
        arn = f"arn:aws:iam::{self._context.account_id}:role/aws-service-role/eks.amazonaws.com/{role}"
        entry = self._entry(cluster, arn, "STANDARD", f"{self._session_arn(role)}", [])
        entry["policies"] = [self._association(_POLICY_PREFIX + "AmazonEKSClusterInsightsPolicy", "cluster", [])]
        self._put(cluster, entry)

    def add_creator(self, cluster: str, identity: Identity) -> None:
        arn = principal_of(identity)
        entry = self._entry(cluster, arn, "STANDARD", self._default_username(arn), [])
        entry["policies"] = [self._association(ADMIN_POLICY, "cluster", [])]
        self._put(cluster, entry)

    def add_nodes(self, cluster: str, role_arn: str) -> None:
        """The role of a node group; an entry that is there already stays as it is."""
        if self._context.state.get("access", cluster, role_arn) is None:
            username, groups = _NODE_TYPES["EC2_LINUX"]
            self._put(cluster, self._entry(cluster, role_arn, "EC2_LINUX", username, groups))

    def all(self, cluster: str) -> list[Record]:
        """For the API server of the cluster: every entry with its policies."""
        return [public(entry) for _, entry in self._context.state.below("access", cluster)]

    # -- operations --------------------------------------------------------------------------------------------------

    async def _create(self, call: Call) -> Record:
        cluster = self._accessible(call)
        arn, kind = call["principalArn"], call.get("type", "STANDARD")
        self._check_principal(arn)
        if kind not in ("STANDARD", *_NODE_TYPES):
            raise invalid_parameter(f"The type {kind} is not valid for an access entry")
        username, groups = call.get("username", ""), call.get("kubernetesGroups", [])
        if kind != "STANDARD":
            if groups or username:
                raise invalid_parameter(f"The {kind} type does not support specifying kubernetesGroups or username")
            username, groups = _NODE_TYPES[kind]
        _check_names(username if kind == "STANDARD" else "", groups if kind == "STANDARD" else [])
        if self._context.state.get("access", cluster, arn) is not None:
            raise in_use("The specified access entry resource is already in use on this cluster.", clusterName=cluster)
        entry = self._entry(cluster, arn, kind, username or self._default_username(arn), groups)
        entry["tags"] = dict(call.get("tags", {}))
        self._put(cluster, entry)
        return {"accessEntry": public(entry)}

    async def _describe(self, call: Call) -> Record:
        return {"accessEntry": public(self._find(call))}

    async def _list(self, call: Call) -> Record:
        cluster = self._accessible(call)
        policy = call.get("associatedPolicyArn")
        arns = [
            entry["principalArn"]
            for entry in self.all(cluster)
            if policy is None or any(held["policyArn"] == policy for held in entry["policies"])
        ]
        found, more = page(arns, call)
        return {"accessEntries": found, **more}

    async def _update(self, call: Call) -> Record:
        entry = self._find(call)
        if entry["type"] != "STANDARD":
            raise invalid_parameter(f"An access entry of type {entry['type']} cannot be updated")
        _check_names(call.get("username", ""), call.get("kubernetesGroups", []))
        entry["kubernetesGroups"] = call.get("kubernetesGroups", entry["kubernetesGroups"])
        entry["username"] = call.get("username", entry["username"])
        self._touch(entry)
        return {"accessEntry": public(entry)}

    async def _delete(self, call: Call) -> Record:
        entry = self._find(call)
        self._context.state.remove("access", (entry["clusterName"], entry["principalArn"]))
        return {}

    async def _associate(self, call: Call) -> Record:
        entry = self._find(call)
        if entry["type"] != "STANDARD":
            raise invalid_request(f"Access policies cannot be associated with an access entry of type {entry['type']}")
        arn, scope = call["policyArn"], call["accessScope"]
        if arn not in {_POLICY_PREFIX + name for name in POLICIES}:
            raise invalid_parameter(f"The policyArn parameter value is not valid: {arn}")
        namespaces = scope.get("namespaces", [])
        if (scope.get("type") == "namespace") != bool(namespaces):
            raise invalid_parameter("Namespaces are required for access scope type namespace, and only for it")
        association = self._association(arn, scope.get("type", "cluster"), namespaces)
        entry["policies"] = [held for held in entry["policies"] if held["policyArn"] != arn] + [association]
        self._touch(entry)
        return self._about(entry) | {"associatedAccessPolicy": association}

    async def _disassociate(self, call: Call) -> Record:
        entry = self._find(call)
        kept = [held for held in entry["policies"] if held["policyArn"] != call["policyArn"]]
        if len(kept) == len(entry["policies"]):
            raise not_found(
                "The specified policyArn could not be found on this access entry.", clusterName=entry["clusterName"]
            )
        entry["policies"] = kept
        self._touch(entry)
        return {}

    async def _associated(self, call: Call) -> Record:
        entry = self._find(call)
        found, more = page(entry["policies"], call)
        return self._about(entry) | {"associatedAccessPolicies": found, **more}

    async def _policies(self, call: Call) -> Record:
        found, more = page([{"name": name, "arn": _POLICY_PREFIX + name} for name in POLICIES], call)
        return {"accessPolicies": found, **more}

    # -- records -----------------------------------------------------------------------------------------------------

    def _accessible(self, call: Call) -> str:
        name: str = call["clusterName"]
        mode = self._context.cluster(name)["accessConfig"]["authenticationMode"]
        # The control plane itself reads its entries in every mode: they say who the creator and the nodes are.
        if mode == "CONFIG_MAP" and not call.identity.internal:
            raise invalid_request(
                "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this "
                "operation.",
                clusterName=name,
            )
        return name

    def _find(self, call: Call) -> Record:
        cluster = self._accessible(call)
        found = self._context.state.get("access", cluster, call["principalArn"])
        if found is None:
            raise not_found(
                "The specified principalArn could not be found. You can view your available access entries "
                "with 'list-access-entries'.",
                clusterName=cluster,
            )
        return found

    def _entry(self, cluster: str, arn: str, kind: str, username: str, groups: Sequence[str]) -> Record:
        match = _PRINCIPAL.fullmatch(arn)
        named = f"{match[2]}/{match[1]}/{match[3].rsplit('/', 1)[-1]}" if match else arn
        now = self._context.now()
        return {
            "clusterName": cluster,
            "principalArn": arn,
            "kubernetesGroups": list(groups),
            "accessEntryArn": self._context.arn(f"access-entry/{cluster}/{named}/{self._context.uuid()}"),
            "createdAt": now,
            "modifiedAt": now,
            "tags": {},
            "username": username,
            "type": kind,
            "policies": [],
        }

    def _association(self, arn: str, scope: str, namespaces: list[str]) -> Record:
        now = self._context.now()
        return {
            "policyArn": arn,
            "accessScope": {"type": scope, "namespaces": list(namespaces)},
            "associatedAt": now,
            "modifiedAt": now,
        }

    @staticmethod
    def _about(entry: Record) -> Record:
        return {"clusterName": entry["clusterName"], "principalArn": entry["principalArn"]}

    def _touch(self, entry: Record) -> None:
        entry["modifiedAt"] = self._context.now()
        self._put(entry["clusterName"], entry)

    def _put(self, cluster: str, entry: Record) -> None:
        self._context.state.put("access", (cluster, entry["principalArn"]), entry)

    def _check_principal(self, arn: str) -> None:
        if not _PRINCIPAL.fullmatch(arn):
            raise invalid_parameter(
                "The principalArn parameter format is not valid. Provide an ARN of an IAM user or role."
            )

    def _default_username(self, arn: str) -> str:
        match = _PRINCIPAL.fullmatch(arn)
        if match and match[2] == "role":
            return self._session_arn(match[3].rsplit("/", 1)[-1])
        return arn

    def _session_arn(self, role: str) -> str:
        return f"arn:aws:sts::{self._context.account_id}:assumed-role/{role}/{{{{SessionName}}}}"


def principal_of(identity: Identity) -> str:
    """The IAM principal behind an identity: a user, or the role of a session."""
    if identity.role_arn:
        return identity.role_arn
    match = re.fullmatch(r"arn:aws:sts::(\d{12}):assumed-role/([^/]+)/.*", identity.arn)
    return f"arn:aws:iam::{match[1]}:role/{match[2]}" if match else identity.arn


def _check_names(username: str, groups: list[Any]) -> None:
    for name in [username, *groups]:
        if name and _RESERVED.match(name):
            raise EksError(
                "InvalidParameterException",
                f"The {'username' if name == username else 'kubernetes group name'} {name} is invalid, it cannot start "
                f"with system:, eks:, aws:, amazon:, or iam:",
            )
