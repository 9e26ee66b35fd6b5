"""TLS identity of a node, derived from the cluster key.

Every holder of the cluster key can derive the same certificate authority; each daemon signs a fresh leaf
with it at every start. Both sides of a connection demand such a leaf, so a connection proves possession of
the key and names the node. The leaf's private key stays in memory. Validity dates are as wide as the format
allows: the wall clock never decides who belongs to the cluster.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CA_INFO = b"openmosix/ca/v1"
_NOT_BEFORE = datetime.datetime(2000, 1, 1)
_NOT_AFTER = datetime.datetime(9999, 12, 31)
_NODE_NAME = re.compile(r"node-([1-9][0-9]{0,4})\.openmosix")


def node_name(node: int) -> str:
    """Return the DNS name in the certificate of a node, 1-65535."""
    return f"node-{node}.openmosix"


@dataclass(frozen=True)
class Identity:
    """A node's leaf certificate, its private key and the authority it trusts, as PEM."""

    node: int
    certificate_pem: bytes = field(repr=False)
    private_key_pem: bytes = field(repr=False)
    authority_pem: str = field(repr=False)

    @classmethod
    def create(cls, cluster_key: bytes, node: int) -> Identity:
        """Make a fresh leaf for `node` (1-65535), signed by the authority of `cluster_key` (32 bytes)."""
        ca_key = Ed25519PrivateKey.from_private_bytes(HKDF(hashes.SHA256(), 32, None, _CA_INFO).derive(cluster_key))
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "openMosix cluster")])
        ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        authority = (
            _builder(ca_name, ca_name, ca_key, serial=1)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(ca_id, critical=False)
            .sign(ca_key, None)
        )
        leaf_key = Ed25519PrivateKey.generate()
        leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_name(node))])
        both_ends = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        leaf = (
            _builder(leaf_name, ca_name, leaf_key, serial=x509.random_serial_number())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(both_ends, critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(node_name(node))]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(leaf_key.public_key()), critical=False)
            .sign(ca_key, None)
        )
        pem = serialization.Encoding.PEM
        return cls(
            node=node,
            certificate_pem=leaf.public_bytes(pem),
            private_key_pem=leaf_key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            authority_pem=authority.public_bytes(pem).decode("ascii"),
        )


def server_context(identity: Identity) -> ssl.SSLContext:
    """Return a context for accepting peers: TLS 1.3 only, and a peer without a leaf of this cluster is
    refused.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _prepare(context, identity)
    return context


def client_context(identity: Identity) -> ssl.SSLContext:
    """Return a context for calling peers; pass `server_hostname=node_name(n)` to demand node n at the other
    end.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = True
    _prepare(context, identity)
    return context


def peer_node(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> int:
    """Return the node number in the verified certificate of the other end. Raises ValueError when it names
    none.
    """
    certificate = ssl_object.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    if len(names) == 1 and isinstance(names[0], tuple) and names[0][0] == "DNS":
        match = _NODE_NAME.fullmatch(str(names[0][1]))
        if match is not None and int(match[1]) <= 65535:
            return int(match[1])
    raise ValueError("the peer's certificate names no node")


def _prepare(context: ssl.SSLContext, identity: Identity) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=identity.authority_pem)
    fd = os.memfd_create("openmosix-leaf", os.MFD_CLOEXEC)  # the ssl module takes a private key from a file only
    try:
        os.write(fd, identity.certificate_pem + identity.private_key_pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _builder(subject: x509.Name, issuer: x509.Name, key: Ed25519PrivateKey, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )


def _key_usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
