"""The three certificate controllers: approving, signing, cleaning. Keys are names of CertificateSigningRequests."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.certificates.authority import Authority
from twinplane.controlplane.controllers.certificates.requests import (
    CERTIFICATE_SIGNING_REQUESTS,
    KUBELET_CLIENT,
    KUBELET_SERVING,
    SIGNERS,
    SigningRequest,
    Unacceptable,
    has_condition,
    parsed,
)
from twinplane.controlplane.controllers.contract import Context, Controller, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import conditions_of, copied, created_at, name_of, time_of, uid_of

SUBJECT_ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
HOUR = 3600.0
KEPT_SETTLED, KEPT_PENDING = HOUR, 24 * HOUR
"""Seconds that requests are kept once they are decided, and while nobody decides."""


class Recognizer(NamedTuple):
    """Requests of a kind, and the permission with which they are approved without a person."""

    signer: str
    is_own: bool
    """Whether the requester must be the node that the certificate is for."""
    subresource: str
    message: str


RECOGNIZERS = (
    Recognizer(
        *(KUBELET_CLIENT, True, "selfnodeclient"),
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    ),
    Recognizer(
        *(KUBELET_CLIENT, False, "nodeclient"), "Auto approving kubelet client certificate after SubjectAccessReview."
    ),
    # EKS approves the serving certificates of its nodes, too; upstream leaves those to others.
    Recognizer(
        *(KUBELET_SERVING, True, "selfnodeserver"),
        "Auto approving self kubelet server certificate after SubjectAccessReview.",
    ),
)


class _RequestController:
    """What the three share: one informer, and a look at every request that changes."""

    name = ""
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CERTIFICATE_SIGNING_REQUESTS)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(key_of(new))

        self._requests.add_handler(changed)

    def _with_condition(self, request: Object, type: str, reason: str, message: str) -> Object:
        now = rfc3339(self._clock.now())
        condition = {"type": type, "status": "True", "reason": reason, "message": message}
        result = copied(request)
        status = result.setdefault("status", {})
        status["conditions"] = [
            *(status.get("conditions") or ()),
            {**condition, "lastUpdateTime": now, "lastTransitionTime": now},
        ]
        return result


class CertificateApprovingController(_RequestController):
    name = "certificatesigningrequest-approving-controller"

    async def reconcile(self, key: Key) -> float | None:
        request = self._requests.get(key.name)
        if request is None or _is_decided(request):
            return None
        try:
            wanted = parsed(request)
        except Unacceptable:
            return None
        for recognizer in RECOGNIZERS:
            if _is_recognized(recognizer, request, wanted) and await self._may(request, recognizer.subresource):
                approved = self._with_condition(request, "Approved", "AutoApproved", recognizer.message)
                await self._client.update(CERTIFICATE_SIGNING_REQUESTS, approved, subresource="approval")
                return None
        return None

    async def _may(self, request: Object, subresource: str) -> bool:
        spec = request["spec"]
        attributes = {
            "group": "certificates.k8s.io",
            "version": "*",
            "resource": "certificatesigningrequests",
            "subresource": subresource,
            "verb": "create",
        }
        user = {
            "user": spec.get("username", ""),
            "uid": spec.get("uid", ""),
            "groups": spec.get("groups") or [],
            "extra": spec.get("extra") or {},
        }
        review = await self._client.create(
            SUBJECT_ACCESS_REVIEWS,
            {
                "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
                "kind": SUBJECT_ACCESS_REVIEWS.kind,
                "metadata": {},
                "spec": {**user, "resourceAttributes": attributes},
            },
        )
        return bool((review.get("status") or {}).get("allowed"))


def _is_decided(request: Object) -> bool:
    if (request.get("status") or {}).get("certificate"):
        return True
    return has_condition(request, "Approved") or has_condition(request, "Denied")


def _is_recognized(recognizer: Recognizer, request: Object, wanted: SigningRequest) -> bool:
    spec = request["spec"]
    if spec.get("signerName") != recognizer.signer:
        return False
    if recognizer.is_own and spec.get("username") != wanted.common_name:
        return False
    try:
        SIGNERS[recognizer.signer](wanted)
    except Unacceptable:
        return False
    return True


class CertificateSigningController(_RequestController):
    name = "certificatesigningrequest-signing-controller"

    def __init__(self, context: Context, authority: Authority) -> None:
        super().__init__(context)
        self._authority = authority

    async def reconcile(self, key: Key) -> float | None:
        request = self._requests.get(key.name)
        if request is None or not self._is_to_be_signed(request):
            return None
        spec = request["spec"]
        try:
            wanted = parsed(request)
            SIGNERS[spec["signerName"]](wanted)
            signed = self._authority.sign(wanted, self._clock.now(), spec.get("expirationSeconds"))
        except Unacceptable as error:
            result = self._with_condition(request, "Failed", "SignerValidationFailure", str(error))
        else:
            result = copied(request)
            result.setdefault("status", {})["certificate"] = base64.b64encode(signed).decode()
        await self._client.update(CERTIFICATE_SIGNING_REQUESTS, result, subresource="status")
        return None

    @staticmethod
    def _is_to_be_signed(request: Object) -> bool:
        if request["spec"].get("signerName") not in SIGNERS or (request.get("status") or {}).get("certificate"):
            return False
        if has_condition(request, "Denied") or has_condition(request, "Failed"):
            return False
        return has_condition(request, "Approved")


class CertificateCleaner(_RequestController):
    """Deletes requests that are decided, given up, or whose certificate has expired."""

    name = "certificatesigningrequest-cleaner-controller"

    async def reconcile(self, key: Key) -> float | None:
        request = self._requests.get(key.name)
        if request is None:
            return None
        left = deadline(request) - self._clock.now()
        if left > 0:
            return left
        try:
            await self._client.delete(CERTIFICATE_SIGNING_REQUESTS, name_of(request), uid=uid_of(request))
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def deadline(request: Object) -> float:
    """Seconds since the epoch after which the request is deleted."""
    conditions = conditions_of(request)
    if not conditions:
        return created_at(request) + KEPT_PENDING
    decided = max(time_of(each.get("lastUpdateTime")) or created_at(request) for each in conditions)
    return min(decided + KEPT_SETTLED, _expiry(request))


def _expiry(request: Object) -> float:
    """Of the issued certificate."""
    encoded = (request.get("status") or {}).get("certificate")
    if not encoded:
        return float("inf")
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(base64.b64decode(encoded)).not_valid_after_utc.timestamp()
    except (binascii.Error, ValueError):
        return float("inf")


def certificate_controllers(context: Context, ca_file: str, ca_key_file: str) -> list[Controller]:
    """Paths of PEM files, read when the first certificate is signed; without a key nothing is signed, as upstream."""
    running: list[Controller] = [CertificateApprovingController(context), CertificateCleaner(context)]
    if ca_key_file:
        running.append(CertificateSigningController(context, Authority(ca_file, ca_key_file)))
    return running
