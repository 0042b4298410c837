"""What a CertificateSigningRequest asks for, and what each signer takes. Pure but for the late import of cryptography.

The rules and their words are those of kubernetes `pkg/apis/certificates/helpers.go` and
`pkg/controller/certificates/signer`; those of EKS's signer are in the EKS user guide ("Certificate signing").
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import conditions_of

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_SIGNING_REQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", False
)
KUBE_API_SERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
EKS_APP_SERVING = "beta.eks.amazonaws.com/app-serving"

_NODES = "system:nodes"
_NODE = "system:node:"
_OPTIONAL = {"digital signature", "key encipherment"}


class Unacceptable(ValueError):
    """Not what the signer signs; the text is shown to the user."""


@dataclass(frozen=True)
class SigningRequest:
    """The X.509 request inside, and the usages beside it."""

    x509: x509.CertificateSigningRequest
    usages: frozenset[str]

    @property
    def common_name(self) -> str:
        from cryptography.x509.oid import NameOID

        names = self.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @property
    def organizations(self) -> list[str]:
        from cryptography.x509.oid import NameOID

        return [str(each.value) for each in self.x509.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]

    def alternative_names(self) -> dict[str, int]:
        """How many there are of each kind: DNS, IP, Email, URI."""
        from cryptography import x509

        kinds: dict[str, type[x509.GeneralName]] = {"DNS": x509.DNSName, "IP": x509.IPAddress}
        kinds |= {"Email": x509.RFC822Name, "URI": x509.UniformResourceIdentifier}
        try:
            names = self.x509.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return dict.fromkeys(kinds, 0)
        return {kind: sum(isinstance(name, each) for name in names) for kind, each in kinds.items()}


def parsed(request: Object) -> SigningRequest:
    """Raises `Unacceptable` for what is no PEM request with a good signature."""
    from cryptography import x509

    spec = request["spec"]
    try:
        found = x509.load_pem_x509_csr(base64.b64decode(spec.get("request") or "", validate=True))
        if not found.is_signature_valid:
            raise Unacceptable("the request's signature does not match its key")
        # Extensions are read when first asked for: make sure that they can be.
        list(found.extensions)
    except (binascii.Error, ValueError) as error:
        raise Unacceptable(f"unable to parse csr: {error}") from None
    return SigningRequest(found, frozenset(spec.get("usages") or ()))


def has_condition(request: Object, type: str) -> bool:
    """Approvals need no status: it is implied to be True."""
    return any(each["type"] == type and each.get("status", "True") == "True" for each in conditions_of(request))


def check_kubelet_client(request: SigningRequest) -> None:
    _check_node(request)
    for kind, count in request.alternative_names().items():
        if count:
            raise Unacceptable(f"{kind} subjectAltNames are not allowed")
    _check_usages(request, "client auth")


def check_kubelet_serving(request: SigningRequest) -> None:
    _check_node(request)
    names = request.alternative_names()
    if not names["DNS"] and not names["IP"]:
        raise Unacceptable("DNS or IP subjectAltName is required")
    for kind in ("Email", "URI"):
        if names[kind]:
            raise Unacceptable(f"{kind} subjectAltNames are not allowed")
    _check_usages(request, "server auth")


def _check_node(request: SigningRequest) -> None:
    if request.organizations != [_NODES]:
        raise Unacceptable("subject organization is not system:nodes")
    if not request.common_name.startswith(_NODE):
        raise Unacceptable("subject common name does not begin with system:node: ")


def _check_usages(request: SigningRequest, purpose: str) -> None:
    required = {"digital signature", purpose}
    if request.usages not in (required, required | {"key encipherment"}):
        shown = " ".join(sorted(required | {"key encipherment"}))
        raise Unacceptable(f"usages did not match [{shown}]")


def _check_purpose(purpose: str, certificate: str) -> Callable[[SigningRequest], None]:
    def check(request: SigningRequest) -> None:
        for usage in sorted(request.usages - _OPTIONAL - {purpose}):
            raise Unacceptable(f"invalid usage for {certificate} certificate: {usage}")
        if purpose not in request.usages:
            raise Unacceptable(f"missing required usage for {certificate} certificate: {purpose}")

    return check


SIGNERS: dict[str, Callable[[SigningRequest], None]] = {
    KUBE_API_SERVER_CLIENT: _check_purpose("client auth", "client"),
    KUBELET_CLIENT: check_kubelet_client,
    KUBELET_SERVING: check_kubelet_serving,
    LEGACY_UNKNOWN: lambda request: None,
    EKS_APP_SERVING: _check_purpose("server auth", "server"),
}
"""Signer name -> its check, which raises `Unacceptable`."""
