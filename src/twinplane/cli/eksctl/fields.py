"""The fields of an eksctl ClusterConfig (eksctl.io/v1alpha5) that are read, as one table.

A leaf is the JSON type that eksctl's schema gives the field; a dictionary is an object, a list with one element an
array of it. A field of eksctl's that is not in the table is refused by name and line, so that nobody believes a setting
that has no effect. Source: eksctl's published schema, `eksctl utils schema`.
"""

from __future__ import annotations

from typing import Any

STRING, BOOL, INT, MAP, STRINGS = "string", "boolean", "integer", "map of strings", "list of strings"
DOCUMENT = "object"
"""Of anything: an IAM policy."""

Spec = dict[str, Any]

_SUBNETS: Spec = {"*": {"id": STRING, "az": STRING, "cidr": STRING}}

_NODE_GROUP: Spec = {
    "name": STRING,
    "instanceType": STRING,
    "instanceTypes": STRINGS,
    "amiFamily": STRING,
    "desiredCapacity": INT,
    "minSize": INT,
    "maxSize": INT,
    "volumeSize": INT,
    "labels": MAP,
    "taints": [{"key": STRING, "value": STRING, "effect": STRING}],
    "tags": MAP,
    "availabilityZones": STRINGS,
    "subnets": STRINGS,
    "privateNetworking": BOOL,
    "spot": BOOL,
    "updateConfig": {"maxUnavailable": INT, "maxUnavailablePercentage": INT},
    "iam": {"instanceRoleARN": STRING, "instanceRoleName": STRING, "attachPolicyARNs": STRINGS},
}

_SERVICE_ACCOUNT: Spec = {
    "metadata": {"name": STRING, "namespace": STRING, "labels": MAP, "annotations": MAP},
    "attachPolicyARNs": STRINGS,
    "attachPolicy": DOCUMENT,
    "attachRoleARN": STRING,
    "roleName": STRING,
    "roleOnly": BOOL,
    "tags": MAP,
}

_ASSOCIATION: Spec = {
    "namespace": STRING,
    "serviceAccountName": STRING,
    "createServiceAccount": BOOL,
    "roleARN": STRING,
    "roleName": STRING,
    "permissionPolicyARNs": STRINGS,
    "permissionPolicy": DOCUMENT,
    "tags": MAP,
}

CLUSTER_CONFIG: Spec = {
    "apiVersion": STRING,
    "kind": STRING,
    "metadata": {"name": STRING, "region": STRING, "version": STRING, "tags": MAP, "annotations": MAP},
    "kubernetesNetworkConfig": {"ipFamily": STRING, "serviceIPv4CIDR": STRING},
    "availabilityZones": STRINGS,
    "vpc": {
        "id": STRING,
        "cidr": STRING,
        "subnets": {"public": _SUBNETS, "private": _SUBNETS},
        "nat": {"gateway": STRING},
        "clusterEndpoints": {"publicAccess": BOOL, "privateAccess": BOOL},
        "publicAccessCIDRs": STRINGS,
    },
    "iam": {
        "serviceRoleARN": STRING,
        "withOIDC": BOOL,
        "serviceAccounts": [_SERVICE_ACCOUNT],
        "podIdentityAssociations": [_ASSOCIATION],
    },
    "accessConfig": {"authenticationMode": STRING, "bootstrapClusterCreatorAdminPermissions": BOOL},
    "cloudWatch": {"clusterLogging": {"enableTypes": STRINGS}},
    "managedNodeGroups": [_NODE_GROUP],
}

NOT_YET: frozenset[str] = frozenset(
    {
        "addons",
        "addonsConfig",
        "autoModeConfig",
        "cloudWatch.clusterLogging.logRetentionInDays",
        "fargateProfiles",
        "gitops",
        "iam.autoCreatePodIdentityAssociations",
        "iam.podIdentityAssociations[].permissionsBoundaryARN",
        "iam.podIdentityAssociations[].targetRoleARN",
        "iam.podIdentityAssociations[].wellKnownPolicies",
        "iam.serviceAccounts[].permissionsBoundary",
        "iam.serviceAccounts[].wellKnownPolicies",
        "iam.serviceRolePermissionsBoundary",
        "identityProviders",
        "karpenter",
        "localZones",
        "managedNodeGroups[].ami",
        "managedNodeGroups[].iam.withAddonPolicies",
        "managedNodeGroups[].launchTemplate",
        "managedNodeGroups[].maxPodsPerNode",
        "managedNodeGroups[].overrideBootstrapCommand",
        "managedNodeGroups[].preBootstrapCommands",
        "managedNodeGroups[].securityGroups",
        "managedNodeGroups[].ssh",
        "managedNodeGroups[].volumeType",
        "nodeGroups",
        "outpost",
        "privateCluster",
        "remoteNetworkConfig",
        "secretsEncryption",
        "upgradePolicy",
        "vpc.autoAllocateIPv6",
        "vpc.controlPlaneSecurityGroupIDs",
        "vpc.controlPlaneSubnetIDs",
        "vpc.extraCIDRs",
        "vpc.securityGroup",
        "vpc.sharedNodeSecurityGroup",
        "zonalShiftConfig",
    }
)
"""Fields that eksctl has and we do not read yet: they get a different sentence from a misspelt one."""
