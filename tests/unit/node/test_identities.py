"""Whose rights the parts of a node's agent have: the kubelet's own, kube-proxy's and the VPC CNI's, over the wire."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from twinplane import testing
from twinplane.dataplane.kubelet.node.credentials import KUBE_PROXY, VPC_CNI
from twinplane.kubeclient.contract import Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.resources import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NETWORK_POLICIES,
    PODS,
    SECRETS,
    SERVICES,
)
from twinplane.testing.credentials import shared

NODE = "system:node:ip-10-0-0-9"
RIGHTS: dict[str, tuple[Resource, ...]] = {
    "": (SERVICES,),
    KUBE_PROXY: (SERVICES, ENDPOINT_SLICES),
    VPC_CNI: (PODS, NAMESPACES, NETWORK_POLICIES),
}


async def test_each_part_may_what_its_account_may(tmp_path: Path) -> None:
    pair = shared().client_certificate(NODE, ["system:nodes"])
    files = [tmp_path / "tls.crt", tmp_path / "tls.key"]
    for file, text in zip(files, pair, strict=True):
        file.write_text(text)
    context = ssl.create_default_context(cadata=shared().authority)
    context.load_cert_chain(files[0], files[1])
    async with testing.cluster() as cluster:
        for account, allowed in RIGHTS.items():
            async with HttpClient(cluster.url, context, acting_as=account) as client:
                for resource in {*allowed, PODS, SECRETS, ENDPOINT_SLICES}:
                    if resource in allowed:
                        await client.list(resource)
                    else:
                        with pytest.raises(ApiError, match="cannot list resource"):
                            await client.list(resource)
        async with HttpClient(cluster.url, context, acting_as="system:serviceaccount:kube-system:other") as client:
            with pytest.raises(ApiError, match='cannot impersonate resource "serviceaccounts"'):
                await client.list(PODS)
        async with HttpClient(cluster.url, context) as kubelet:
            assert (await kubelet.list(PODS, field_selector="spec.nodeName=ip-10-0-0-9")).items == []
