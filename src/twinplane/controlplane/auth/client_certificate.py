"""Users by X.509 client certificate: common name -> user, organisations -> groups.

The TLS layer has verified the chain against the cluster's client CA before it hands the certificate on. Connections
live long and certificates are few, so what one says is remembered.
"""

from __future__ import annotations

from collections import OrderedDict

from twinplane.clock import Clock
from twinplane.controlplane.auth.contract import AUTHENTICATED, Credentials, UserInfo
from twinplane.kubeclient.errors import unauthorized

_REMEMBERED = 256


class ClientCertificateAuthenticator:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, float, UserInfo]] = OrderedDict()

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        if not credentials.certificate:
            return None
        known = self._known.get(credentials.certificate)
        if known is None:
            known = self._known[credentials.certificate] = _read(credentials.certificate)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        not_before, not_after, user = known
        if not not_before <= self._clock.now() <= not_after or not user.name:
            raise unauthorized()
        return user


def _read(der: bytes) -> tuple[float, float, UserInfo]:
    """Validity and user. A certificate without a common name names nobody: its user's name is empty."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        raise unauthorized() from None
    subject = certificate.subject
    names = [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(entry.value) for entry in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    user = UserInfo(names[0] if names else "", tuple(dict.fromkeys((*groups, AUTHENTICATED))))
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(), user
