# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for the tests of an endpoint."""

from __future__ import annotations

import datetime
import ipaddress
import socket

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def _localhost_is_ipv4(monkeypatch):
    """The tests listen on 127.0.0.1, and Debian's /etc/hosts has a line ``::1 localhost`` as well."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **options: resolve("127.0.0.1" if host == "localhost" else host, *rest, **options),
    )


class Issued:
    """A certificate and its key, self-signed or signed by an issuer."""

    def __init__(self, name, issuer=None, ca=False, names=("localhost",), begins=NOW - 9 * DAY, ends=NOW + DAY):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder(subject_name=self.subject)
            .issuer_name((issuer or self).subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            alternatives = [x509.DNSName(each) for each in names if ":" not in each and not each[0].isdigit()]
            alternatives += [
                x509.IPAddress(ipaddress.ip_address(each)) for each in names if each[0].isdigit() or ":" in each
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.key_pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Pki:
    """Two CAs, and a server and a client certificate of the first."""

    now, tomorrow = NOW, NOW + DAY / 2

    def __init__(self):
        self.ca, self.other_ca = self.issue("the-ca", ca=True), self.issue("other-ca", ca=True)
        self.server, self.client = self.issue("server", self.ca), self.issue("client", self.ca)

    def issue(self, name, issuer=None, expired=False, **options):
        """Return a certificate that is valid from 9 days ago until tomorrow, or until yesterday."""
        return Issued(name, issuer, ends=NOW - DAY if expired else NOW + DAY, **options)


@pytest.fixture(scope="session")
def pki():
    return Pki()
