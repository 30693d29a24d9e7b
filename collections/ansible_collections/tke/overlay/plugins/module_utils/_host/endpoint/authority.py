# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the CA certificates that a user gives: as PEM, with everything around it that OpenSSL skips, or as DER.

Files of CAs come from mail, from other systems and from ``openssl x509 -text``, so the
certificates stand between comments in any encoding, after a byte order mark, with other
line breaks, or beside a private key. Only the certificates are used. A text without one
is recognised by what it is instead: the error says what was given and what is expected.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import ssl
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import (
    describe,
    first_element,
    parse_certificate,
)

EXPECTED = "expected the certificate of a CA in PEM form (-----BEGIN CERTIFICATE-----)"

OMITTED = (b"DATA+OMITTED", b"REDACTED")
"""What ``kubectl config view`` prints in the place of data. Both are valid base64."""

_LABELS = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")  # that OpenSSL reads as a certificate
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_SEQUENCE = b"\x30"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Pattern at the beginning of a text -> what it is, with the remedy. The first match counts.
_MISTAKES = (
    (rb"$", "is empty"),
    (rb"(?s).*PRIVATE KEY", "holds a private key and no certificate: give the file of the certificate instead"),
    (rb"(?s).*BEGIN (NEW )?CERTIFICATE REQUEST", "holds a certificate request, which no CA has signed yet"),
    (rb"(?s).*BEGIN PKCS7", "holds PKCS #7: convert it with 'openssl pkcs7 -print_certs'"),
    (rb"(?s).*BEGIN X509 CRL", "holds a revocation list and no certificate"),
    (rb"(?s).*BEGIN ([A-Z0-9]+ )*PUBLIC KEY", "holds a public key and no certificate"),
    (rb"(?s).*BEGIN ([A-Z0-9]+ )*CERTIFICATE-----", "holds a certificate that is cut off: its END line is missing"),
    (rb"(?s).*(DATA\+OMITTED|REDACTED)", "holds what 'kubectl config view' prints without --raw instead of the data"),
    (rb"\$ANSIBLE_VAULT;", "is encrypted by ansible-vault"),
    (rb"(ssh|ecdsa)-\S+ AAAA", "holds an SSH key and no certificate"),
    (rb"LS0tLS1CRUdJTi", "holds base64 of PEM, as a kubeconfig has it: decode it with 'base64 -d'"),
    (rb"(?s).*\b(apiVersion|kind)\"?:", "holds a Kubernetes object and no certificate"),
    (rb"(?si)\s*(<!DOCTYPE|<html)", "holds a web page and no certificate"),
    (rb"(?:~?/|\.{1,2}/)[^\n]*$|[^\n]*\.(crt|pem|cer|der)$", "holds a path instead of the content of that file"),
)


def read_authority(content: bytes, origin: str, der: bool = True) -> str:
    """Return the certificates of a file or text as PEM without anything else; at least one is of a CA that is valid.

    :param origin: the variable, option or file that the content comes from, for the error message.
    :param der: whether DER is accepted; Go's TLS, and so Kubernetes, reads only PEM.
    :raises ValidationError: there is no certificate, one cannot be read, or none is of a valid CA.
    """
    content = _without_byte_order_mark(content, origin)
    found = _certificates(content, origin)
    if not found and content[:1] == _SEQUENCE:
        found = [_of_der(content, origin, der)]
    if not found:
        raise ValidationError(f"{origin} {_mistake(content.strip())}; {EXPECTED}")
    pem = "".join(ssl.DER_cert_to_PEM_cert(each) for each in found)
    _require_ca(pem, found, origin)
    return pem


def certificates_in(content: bytes) -> frozenset[bytes]:
    """Return the certificates of a text as DER; none if it cannot be read."""
    try:
        return frozenset(_certificates(content, ""))
    except ValidationError:
        return frozenset()


def _without_byte_order_mark(content: bytes, origin: str) -> bytes:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise ValidationError(f"{origin} begins as a text in {encoding}, and is none; {EXPECTED}") from error
    return content


def _certificates(content: bytes, origin: str) -> list[bytes]:
    """Return the certificates between PEM lines, as DER."""
    found: list[bytes] = []
    for label, body in _BLOCK.findall(content):
        if label not in _LABELS:
            continue
        if b"\\n" in body:
            raise ValidationError(f"{origin} has '\\n' as two characters in the place of line breaks; {EXPECTED}")
        try:
            # A trusted certificate is followed by what OpenSSL trusts it for.
            der = first_element(base64.b64decode(b"".join(body.split()), validate=True))
            parse_certificate(der)
        except (binascii.Error, IndexError, ValueError) as error:
            number = len(found) + 1
            raise ValidationError(
                f"{origin}: the text of certificate {number} is damaged or cut off: copy the file again"
            ) from error
        found.append(der)
    return found


def _of_der(content: bytes, origin: str, der: bool) -> bytes:
    try:
        parse_certificate(content)
    except (IndexError, ValueError) as error:
        raise ValidationError(
            f"{origin} holds binary data, and no certificate in DER form (perhaps a key, or PKCS #12: 'openssl pkcs12 "
            f"-nokeys' converts that); {EXPECTED}"
        ) from error
    if not der:
        raise ValidationError(
            f"{origin} holds a certificate in DER form, and Kubernetes reads only PEM: convert it with 'openssl x509'"
        )
    return first_element(content)


def _mistake(content: bytes) -> str:
    for pattern, what in _MISTAKES:
        if re.match(pattern, content):
            return what
    labels = sorted({label.decode("ascii") for label in _BEGIN.findall(content)})
    if labels:
        return f"holds {' and '.join(labels)} and no certificate"
    return f"holds {len(content)} bytes without a certificate"


def _require_ca(pem: str, found: t.Sequence[bytes], origin: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ValidationError(f"{origin} holds a certificate that OpenSSL does not read: {error}") from error
    shown = "; ".join(describe(each) for each in found)
    authorities = t.cast("list[dict[str, str]]", context.get_ca_certs())
    if not authorities:
        raise ValidationError(
            f"{origin} holds no CA certificate, only: {shown}. Give the certificate of the CA that signed it"
        )
    now = time.time()
    if all(ssl.cert_time_to_seconds(each["notAfter"]) < now for each in authorities):
        raise ValidationError(f"the CA of {origin} has expired: {shown}")
    if all(ssl.cert_time_to_seconds(each["notBefore"]) > now for each in authorities):
        raise ValidationError(f"the CA of {origin} is not valid yet: {shown}. Check the clock of this machine")
