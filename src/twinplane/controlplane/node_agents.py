"""What the agent of a real node may do beside its kubelet: act as the accounts of kube-proxy and of the VPC CNI.

On nodes of EKS these two are pods with service accounts of their own; here they are parts of the node's agent, whose
identity is the kubelet's. A kubelet must not read all pods, so those parts act in the names of the accounts they stand
for. A node of EKS can do no less: the tokens of the two accounts are mounted on it.
"""

from __future__ import annotations

from twinplane.kubeclient.contract import Object

GROUP = "system:nodes"
NAME = "twinplane:node-agents"
_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_VPC_CNI = "aws-node"


def bootstrap_objects() -> list[Object]:
    """`system:node-proxier` is bound to kube-proxy's account already."""
    agents = {"name": NAME, "namespace": "kube-system"}
    accounts = {"apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": ["kube-proxy", _VPC_CNI]}
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": _READ},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": _READ},
    ]
    account = {"kind": "ServiceAccount", "name": _VPC_CNI, "namespace": "kube-system"}
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": agents,
            "rules": [{**accounts, "verbs": ["impersonate"]}],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": agents,
            "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": NAME},
            "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": GROUP}],
        },
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": _VPC_CNI}, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _VPC_CNI},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _VPC_CNI},
            "subjects": [account],
        },
    ]
