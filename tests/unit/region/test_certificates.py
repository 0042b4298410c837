"""A cluster's certificates: made once, verified by what they are for."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from twinplane.region.certificates import CertificateAuthority, Subject, service_account_key


def test_authority_and_leaves_are_made_once(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, time.time())
    subject = Subject("kube-apiserver", addresses=["127.0.0.1", "kubernetes.default.svc"])
    first = authority.issue("apiserver", subject).certificate.read_bytes()
    again = CertificateAuthority(tmp_path, time.time())
    assert again.issue("apiserver", subject).certificate.read_bytes() == first
    assert again.certificate_path.read_bytes() == authority.certificate_path.read_bytes()


def test_a_leaf_verifies_against_the_authority(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, time.time())
    pair = authority.issue("client", Subject("system:node:a", ["system:nodes"]))
    leaf = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_path.read_bytes()))
    assert leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"
    context = ssl.create_default_context(cafile=authority.certificate_path)
    context.load_cert_chain(pair.certificate, pair.key)
    assert pair.key.stat().st_mode & 0o077 == 0


def test_service_account_key_is_rsa_for_oidc(tmp_path: Path) -> None:
    path = service_account_key(tmp_path / "pki" / "sa.key")
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert service_account_key(path).read_bytes() == path.read_bytes()
