"""An API server with its extensions running, and definitions in the style of real projects."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.unit.api.harness import Api, api_server
from twinplane.controlplane.api.extensions.dialing import ServiceResolver
from twinplane.controlplane.api.extensions.extensions import ApiExtensions
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.api.types.strategy import is_custom
from twinplane.kubeclient.contract import Object

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@asynccontextmanager
async def extended(
    *, resolve: ServiceResolver | None = None, certificate: Callable[[], tuple[str, str]] | None = None
) -> AsyncIterator[Api]:
    async with api_server() as api:
        runtime = api.runtime
        reader = CacheReader(runtime.cache, runtime.registry)
        extensions = ApiExtensions(api.server, api.client, reader, resolve=resolve, certificate=certificate)
        try:
            async with extensions.running():
                yield api
        finally:
            # The table of types is shared by all tests.
            for served in tuple(runtime.registry.all()):
                if is_custom(served):
                    runtime.registry.unregister(served.resource)
            runtime.rules.converters.clear()


async def define(api: Api, definition: Object) -> Object:
    """Create or replace, and wait until it is established. Returns it."""
    name = definition["metadata"]["name"]
    response = await api.send("POST", DEFINITIONS, definition)
    if response.status == 409:
        known = await api.json("GET", f"{DEFINITIONS}/{name}")
        metadata = definition["metadata"] | {"resourceVersion": known["metadata"]["resourceVersion"]}
        response = await api.send("PUT", f"{DEFINITIONS}/{name}", {**definition, "metadata": metadata})
    assert response.status in (200, 201), response.body
    return await until(api, f"{DEFINITIONS}/{name}", lambda body: conditions(body).get("Established") == "True")


async def until(api: Api, path: str, holds: Callable[[Object], bool], code: int = 200) -> Object:
    """The object once `holds` says so (or the refusal, once it is refused with `code`)."""
    import orjson

    for _ in range(12_000):
        response = await api.send("GET", path)
        body: Object = orjson.loads(response.body) if response.body.startswith(b"{") else {}
        if response.status == code and holds(body):
            return body
        await asyncio.sleep(0.005)
    raise AssertionError((response.status, response.body))


def conditions(body: Object) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in (body.get("status") or {}).get("conditions") or ()}


def definition(
    plural: str,
    kind: str,
    schema: Object,
    *,
    group: str = "example.com",
    scope: str = "Namespaced",
    names: Object | None = None,
    **version: Any,
) -> Object:
    """One version, `v1`; `version` adds to it."""
    served = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}} | version
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind} | (names or {}),
            "versions": [served],
        },
    }


def of(spec: Object, status: Object | None = None) -> Object:
    """A root schema around that of the spec."""
    properties = {"spec": spec} | ({"status": status} if status else {})
    return {"type": "object", "properties": properties}


def cron_tab() -> Object:
    spec = {
        "type": "object",
        "required": ["cronSpec"],
        "properties": {
            "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
            "image": {"type": "string", "default": "nginx"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 100, "default": 1},
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"type": "string"}, "port": {"x-kubernetes-int-or-string": True}},
                },
            },
        },
    }
    status = {
        "type": "object",
        "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}},
    }
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labelSelector",
    }
    return definition(
        "crontabs",
        "CronTab",
        of(spec, status),
        names={"shortNames": ["ct"], "categories": ["all"]},
        subresources={"status": {}, "scale": scale},
        selectableFields=[{"jsonPath": ".spec.image"}],
        additionalPrinterColumns=[
            {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        ],
    )


def certificate_definition() -> Object:
    """In the style of a certificate manager: durations, enumerations, one-of, conditions as a list map."""
    condition = {
        "type": "object",
        "required": ["type", "status"],
        "properties": {
            "type": {"type": "string"},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    }
    spec = {
        "type": "object",
        "required": ["secretName", "issuerRef"],
        "properties": {
            "secretName": {"type": "string", "minLength": 1},
            "duration": {"type": "string"},
            "dnsNames": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "x-kubernetes-list-type": "set"},
            "privateKey": {
                "type": "object",
                "properties": {
                    "algorithm": {"type": "string", "enum": ["RSA", "ECDSA"], "default": "RSA"},
                    "size": {"type": "integer", "multipleOf": 8},
                },
            },
            "issuerRef": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "kind": {"type": "string", "default": "Issuer"}},
            },
        },
    }
    status = {
        "type": "object",
        "properties": {
            "conditions": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": condition,
            }
        },
    }
    return definition("certificates", "Certificate", of(spec, status), group="acme.io", subresources={"status": {}})


def monitor_definition() -> Object:
    """In the style of a Prometheus operator: embedded objects, quantities, free-form parts, anything goes in places."""
    quantity = {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": r"^[0-9.]+[a-zA-Z]*$",
    }
    spec = {
        "type": "object",
        "properties": {
            "retention": {"type": "string", "default": "24h"},
            "resources": {
                "type": "object",
                "properties": {"requests": {"type": "object", "additionalProperties": quantity}},
            },
            "template": {
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "x-kubernetes-preserve-unknown-fields": True,
            },
            "extra": {"x-kubernetes-preserve-unknown-fields": True},
            "endpoint": {
                "type": "object",
                "properties": {"port": {"type": "string"}, "targetPort": {"type": "integer"}},
                "oneOf": [{"required": ["port"]}, {"required": ["targetPort"]}],
            },
        },
    }
    return definition("monitors", "Monitor", of(spec), group="monitoring.example.com", scope="Cluster")


def object_of(kind: str, name: str, spec: Object, *, group: str = "example.com", version: str = "v1") -> Object:
    return {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": name}, "spec": spec}


def tls_files(directory: Path, *names: str) -> tuple[Path, Path]:
    """(certificate, key) of a server with these DNS names, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / f"{names[0]}.crt", directory / f"{names[0]}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return certificate_file, key_file


@asynccontextmanager
async def https_server(handler: Any, files: tuple[Path, Path], client_ca: Path | None = None) -> AsyncIterator[int]:
    """An aiohttp handler behind TLS on loopback; gives its port."""
    from aiohttp import web

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
