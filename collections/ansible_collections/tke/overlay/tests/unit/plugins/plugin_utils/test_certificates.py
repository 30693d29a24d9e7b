# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA of the API server on the controller: each error names the variable, the file and what is wrong with it."""

from __future__ import annotations

import datetime

import pytest
from ansible.errors import AnsibleError, AnsibleFileNotFound
from ansible.parsing.dataloader import DataLoader
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.tke.overlay.plugins.lookup.ca_certificates import LookupModule
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._certificates import public_key_hashes, read_ca


@pytest.fixture(scope="module")
def certificate():
    """Return a CA's certificate."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the-ca")])
    return (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_lookup_returns_pem_of_a_file_in_either_form(certificate, tmp_path, form):
    plain = certificate.public_bytes(serialization.Encoding.PEM).decode()
    head = "# Müller\r\n".encode() if form == "PEM" else b""
    (tmp_path / "ca.crt").write_bytes(head + certificate.public_bytes(getattr(serialization.Encoding, form)))
    lookup = LookupModule(loader=DataLoader())
    assert lookup.run([f"{tmp_path}/ca.crt"], {}) == [plain]
    with pytest.raises(AnsibleError, match=r"overlay_api_ca: the controller has no file .*/none.crt"):
        lookup.run([f"{tmp_path}/none.crt"], {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "overlay_api_ca is '', expected the path"),
        (["a"], "overlay_api_ca is ['a'], expected the path"),
        ("-----BEGIN CERTIFICATE-----\nMII", "overlay_api_ca holds the text of a certificate, expected the path"),
        ("empty", "/empty) is empty"),
        ("key", "/key) holds a private key and no certificate"),
        ("directory", "/directory cannot be read on the controller: Is a directory"),
        ("none", "overlay_api_ca: the controller has no file none: set it to an absolute path"),
    ],
)
def test_names_the_variable_and_the_fault(tmp_path, given, words):
    (tmp_path / "empty").touch()
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\nverysecret\n-----END PRIVATE KEY-----\n")
    (tmp_path / "directory").mkdir()

    def find(name):
        if name == "none":
            raise AnsibleFileNotFound(file_name=name)
        return str(tmp_path / name)

    with pytest.raises(ValidationError) as caught:
        read_ca(given, find, DataLoader())
    assert words in str(caught.value)
    assert "overlay_api_ca" in str(caught.value)
    assert "verysecret" not in str(caught.value)


def test_hashes_of_public_keys_are_those_of_kubeadm():
    """The expected value is that of the command in kubeadm's documentation, with openssl."""
    pem = """\
-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUB8JIZ1tscBrSJz9qroYOzBBcmpQwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwIBcNMjYxMTI5MDYwMDA1WhgPMjEyNjExMDUwNjAwMDVa
MA0xCzAJBgNVBAMMAmNhMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJun7nY1C
jFSBwcUjc5EZ3rczznCc5eWx8TTVAUs2WI7BD2JhcHUaFebXHm2ahv4+2/tasF0G
6uZz/XQeBNnQ6qNTMFEwHQYDVR0OBBYEFNVGijaQJ9T4Dyp/Ca8yJTJAyfMLMB8G
A1UdIwQYMBaAFNVGijaQJ9T4Dyp/Ca8yJTJAyfMLMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIhANXZ4h6IXZAXtnjuTkyXft1z7MtIPdsJeEPzCYGx
4r3/AiA8l2gXo5tG4gmRv9Z4yzZCt7OS19udqZqDYMveS75rLw==
-----END CERTIFICATE-----
"""
    assert public_key_hashes(pem + pem) == ["sha256:d76eb991d538d85948fa6d04e27ac23b24447caf756fca04e0d003254143a1fc"]
