"""Certificate signing requests: who asks, and who may approve and sign what."""

from __future__ import annotations

import base64
import binascii

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, concerns, refuse, spec_of
from twinplane.controlplane.auth.contract import MASTERS, Attributes, Authorizer
from twinplane.kubeclient.contract import Object, Resource

CERTIFICATE_SIGNING_REQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
_KUBE_APISERVER_CLIENT = "kubernetes.io/kube-apiserver-client"


def _may(authorizer: Authorizer, request: AdmissionRequest, verb: str, signer: str) -> bool:
    """Signers are authorized by their full name or by `DOMAIN/*`."""
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        asked = Attributes(request.user, verb, "certificates.k8s.io", "*", "signers", name=name)
        if authorizer.authorize(asked).allowed:
            return True
    return False


def _signer(obj: Object | None) -> str:
    return str(((obj or {}).get("spec") or {}).get("signerName", ""))


class CertificateRequester(Plugin):
    """Writes down who asks: what the request itself says about that does not count."""

    name = "CertificateRequester"
    by_type = True

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, CERTIFICATE_SIGNING_REQUESTS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        spec, user = spec_of(request), request.user
        extra = {key: list(values) for key, values in user.extra.items()}
        known = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
        for field, value in known.items():
            spec.pop(field, None)
            if value:
                spec[field] = value


class CertificateApproval(Plugin):
    name = "CertificateApproval"
    by_type = True

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, CERTIFICATE_SIGNING_REQUESTS, "UPDATE", subresource="approval")

    async def validate(self, request: AdmissionRequest) -> None:
        signer = _signer(request.old)
        if not _may(self._authorizer, request, "approve", signer):
            raise refuse(request, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Plugin):
    name = "CertificateSigning"
    by_type = True

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, CERTIFICATE_SIGNING_REQUESTS, "UPDATE", subresource="status")

    async def validate(self, request: AdmissionRequest) -> None:
        new, old = (request.object or {}).get("status") or {}, (request.old or {}).get("status") or {}
        if all((new.get(field) or None) == (old.get(field) or None) for field in ("certificate", "conditions")):
            return
        signer = _signer(request.old)
        if not _may(self._authorizer, request, "sign", signer):
            raise refuse(request, f'user not permitted to sign requests with signerName "{signer}"')


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    by_type = True

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, CERTIFICATE_SIGNING_REQUESTS, "CREATE")

    async def validate(self, request: AdmissionRequest) -> None:
        spec = spec_of(request)
        if spec.get("signerName") == _KUBE_APISERVER_CLIENT and MASTERS in _organizations(spec.get("request")):
            why = f"use of {_KUBE_APISERVER_CLIENT} signer with system:masters group is not allowed"
            raise refuse(request, why)


def _organizations(encoded: object) -> list[str]:
    """Of the subject of a PEM request in base64; what cannot be read is left to validation."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        pem = base64.b64decode(encoded if isinstance(encoded, str) else "", validate=True)
        subject = x509.load_pem_x509_csr(pem).subject
    except (binascii.Error, ValueError):
        return []
    return [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
