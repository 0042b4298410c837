"""Keys and certificates of all throwaway clusters of a process: made once, since an RSA key takes a tenth of a second.

Clusters share them (`shared`) and nothing else. Nothing stays on disk: the TLS library and the region's certificate
authority read files, so these exist while a certificate is issued or loaded, in a directory of their own.
"""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from twinplane.controlplane.auth.contract import AUTHENTICATED, MASTERS, Credentials, UserInfo
from twinplane.region.certificates import CertificateAuthority, Subject

ADMIN = UserInfo("twinplane:admin", (MASTERS, AUTHENTICATED))
HOST = "127.0.0.1"
NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


class ClientCertificate(NamedTuple):
    """PEM."""

    certificate: str
    key: str


@dataclass(frozen=True)
class SharedCredentials:
    admin_token: str
    authority: str
    """The certificate authority's certificate, PEM."""
    service_account_key: rsa.RSAPrivateKey
    server_context: ssl.SSLContext
    """TLS as an API server speaks it: a client's certificate is taken when there is one."""
    _authority_key: bytes

    def client_certificate(self, user: str, groups: Sequence[str] = ()) -> ClientCertificate:
        """For `user` (common name) in `groups` (organizations)."""
        with TemporaryDirectory(prefix="twinplane-") as name:
            folder = Path(name)
            (folder / "ca.crt").write_text(self.authority)
            (folder / "ca.key").write_bytes(self._authority_key)
            pair = CertificateAuthority(folder, time.time()).issue("client", Subject(user, groups))
            return ClientCertificate(pair.certificate.read_text(), pair.key.read_text())


@cache
def shared() -> SharedCredentials:
    """The process's own, made on first use."""
    with ThreadPoolExecutor(1, thread_name_prefix="twinplane-key") as thread:
        # The RSA key is made beside the certificates: it is the longest part of the first cluster's start.
        key: Future[rsa.RSAPrivateKey] = thread.submit(rsa.generate_private_key, 65537, 2048)
        with TemporaryDirectory(prefix="twinplane-") as name:
            folder = Path(name)
            authority = CertificateAuthority(folder, time.time())
            server = authority.issue("server", Subject("kube-apiserver", addresses=[*NAMES, "localhost", HOST]))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(server.certificate, server.key)
            context.load_verify_locations(authority.certificate_path)
            context.verify_mode = ssl.CERT_OPTIONAL
            return SharedCredentials(
                admin_token=secrets.token_urlsafe(32),
                authority=authority.certificate_path.read_text(),
                service_account_key=key.result(),
                server_context=context,
                _authority_key=(folder / "ca.key").read_bytes(),
            )


class StaticTokens:
    """An `Authenticator` of bearer tokens that are known beforehand, as upstream's `--token-auth-file`."""

    def __init__(self, tokens: dict[str, UserInfo]) -> None:
        self._tokens = tokens

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        return self._tokens.get(credentials.token)
