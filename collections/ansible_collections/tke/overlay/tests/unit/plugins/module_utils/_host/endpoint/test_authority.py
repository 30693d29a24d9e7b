# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of CA certificates as users give them: what OpenSSL reads is accepted, all else is named with its remedy."""

from __future__ import annotations

import base64
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import read_authority
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import TlsClient, tls_context


def pem_of(issued):
    return issued.pem.decode()


def labelled(issued, label):
    return issued.pem.replace(b" CERTIFICATE-", f" {label}-".encode())


ACCEPTED = {
    "plain": lambda pki: pki.ca.pem,
    "a comment in UTF-8": lambda pki: "# Müller, 中文\n".encode() + pki.ca.pem,
    "a comment in Latin-1": lambda pki: "# M\xfcller\n".encode("latin-1") + pki.ca.pem,
    "text of openssl x509 -text": lambda pki: b"Certificate:\n    Issuer: O = M\xc3\xbcller\n" + pki.ca.pem + b"\n\n",
    "a byte order mark": lambda pki: b"\xef\xbb\xbf" + pki.ca.pem,
    "UTF-16": lambda pki: pem_of(pki.ca).encode("utf-16"),
    "CRLF": lambda pki: pki.ca.pem.replace(b"\n", b"\r\n"),
    "CR": lambda pki: pki.ca.pem.replace(b"\n", b"\r"),
    "spaces around lines": lambda pki: pki.ca.pem.replace(b"\n", b" \n  "),
    "one long line": lambda pki: (
        b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----" % base64.b64encode(pki.ca.der)
    ),
    "a former label": lambda pki: labelled(pki.ca, "X509 CERTIFICATE"),
    "a trusted certificate": lambda pki: (
        b"-----BEGIN TRUSTED CERTIFICATE-----\n%s\n-----END TRUSTED CERTIFICATE-----"
        % base64.encodebytes(pki.ca.der + b"\x30\x06\x0c\x04name")
    ),
    "the key before it": lambda pki: pki.ca.key_pem + pki.ca.pem,
    "a bundle": lambda pki: pki.other_ca.pem + b"\n# and\n" + pki.server.pem + pki.ca.pem,
    "an expired CA beside it": lambda pki: pki.issue("old", ca=True, expired=True).pem + pki.ca.pem,
    "DER": lambda pki: pki.ca.der,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepts_what_openssl_reads(pki, case):
    pem = read_authority(ACCEPTED[case](pki), "ca")
    assert pem.isascii()
    assert "KEY-" not in pem, "only certificates go on"  # base64 has no dash, and can have the three letters
    assert ssl.DER_cert_to_PEM_cert(pki.ca.der) in pem
    assert tls_context(TlsClient("ca", pem, "localhost")).get_ca_certs()
    assert read_authority(pem.encode(), "ca") == pem


def request(pki):
    builder = x509.CertificateSigningRequestBuilder().subject_name(pki.ca.subject)
    return builder.sign(pki.ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def public_key(pki):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return pki.ca.key.public_key().public_bytes(serialization.Encoding.PEM, form)


def bundle_pkcs12(pki):
    return pkcs12.serialize_key_and_certificates(
        b"ca", pki.ca.key, pki.ca.certificate, None, serialization.NoEncryption()
    )


REJECTED = {
    "nothing": (lambda pki: b"", "ca is empty"),
    "only a byte order mark": (lambda pki: b"\xef\xbb\xbf", "ca is empty"),
    "blanks": (lambda pki: b" \n\t\n", "ca is empty"),
    "a key": (lambda pki: pki.ca.key_pem, "holds a private key and no certificate"),
    "a public key": (public_key, "holds a public key and no certificate"),
    "a request": (request, "holds a certificate request"),
    "PKCS 7": (
        lambda pki: pkcs7.serialize_certificates([pki.ca.certificate], serialization.Encoding.PEM),
        "openssl pkcs7 -print_certs",
    ),
    "PKCS 12": (bundle_pkcs12, "openssl pkcs12 -nokeys"),
    "a list of revocations": (lambda pki: b"-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----", "revocation list"),
    "another block": (lambda pki: b"-----BEGIN DH PARAMETERS-----\nAA==\n", "holds DH PARAMETERS and no certificate"),
    "no END": (lambda pki: pki.ca.pem[:-30], "cut off: its END line is missing"),
    "damaged": (lambda pki: pki.ca.pem.replace(b"\nMII", b"\nM!I"), "certificate 1 is damaged or cut off"),
    "a second one cut off": (
        lambda pki: pki.ca.pem + b"\n".join([*pki.server.pem.splitlines()[:3], *pki.server.pem.splitlines()[-1:]]),
        "certificate 2 is damaged or cut off",
    ),
    "line breaks as text": (lambda pki: pki.ca.pem.replace(b"\n", b"\\n"), "line breaks"),
    "base64": (lambda pki: base64.b64encode(pki.ca.pem), "base64 -d"),
    "omitted": (lambda pki: b"DATA+OMITTED", "kubectl config view"),
    "a path": (lambda pki: b"/etc/kubernetes/pki/ca.crt\n", "holds a path instead of the content"),
    "a relative path": (lambda pki: b"files/api-ca.crt", "holds a path instead of the content"),
    "a kubeconfig": (lambda pki: b"# me\napiVersion: v1\nkind: Config\n", "holds a Kubernetes object"),
    "a vault": (lambda pki: b"$ANSIBLE_VAULT;1.1;AES256\n3162", "encrypted by ansible-vault"),
    "a web page": (lambda pki: b"<!DOCTYPE html><title>404", "holds a web page"),
    "an SSH key": (lambda pki: b"ssh-ed25519 AAAAC3 me", "holds an SSH key"),
    "other text": (lambda pki: b"none", "holds 4 bytes without a certificate"),
    "binary data": (lambda pki: b"\x30\x03abc", "no certificate in DER form"),
    "no CA": (lambda pki: pki.server.pem, "holds no CA certificate, only: subject CN=server"),
    "no CA in DER": (lambda pki: pki.server.der, "holds no CA certificate, only: subject CN=server"),
    "an old CA": (
        lambda pki: pki.issue("old", ca=True, expired=True).pem,
        "the CA of ca has expired: subject CN=old",
    ),
    "a CA of tomorrow": (
        lambda pki: pki.issue("new", ca=True, begins=pki.tomorrow).pem,
        "the CA of ca is not valid yet: subject CN=new",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_names_what_was_given_instead(pki, case):
    content, words = REJECTED[case]
    with pytest.raises(ValidationError) as caught:
        read_authority(content(pki), "ca")
    assert words in str(caught.value)
    assert str(caught.value).count("ca") >= 1
    assert "cadata" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_der_is_rejected_where_only_pem_is_read(pki):
    with pytest.raises(ValidationError, match="Kubernetes reads only PEM: convert it with 'openssl x509'"):
        read_authority(pki.ca.der, "cluster a of /k", der=False)
    assert read_authority(b"# M\xfcller\n" + pki.ca.pem, "cluster a of /k", der=False)
