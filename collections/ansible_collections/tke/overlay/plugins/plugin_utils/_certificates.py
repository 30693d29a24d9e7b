# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA of the API server, a file on the controller that the variable ``overlay_api_ca`` names."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t

from ansible.errors import AnsibleError, AnsibleFileNotFound

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import read_authority

with contextlib.suppress(ImportError):  # ansible-test imports plugins without it; ansible-core requires it
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

VARIABLE = "overlay_api_ca"


def read_ca(given: t.Any, find: t.Callable[[str], str | None], loader: t.Any) -> str:
    """Return the certificates of the file as PEM.

    :param given: the value of the variable.
    :param find: returns the absolute path of the file, as Ansible searches for files.
    :param loader: Ansible's loader, which decrypts a file of ansible-vault.
    :raises ValidationError: there is no such file, or it holds no CA certificate.
    """
    if not isinstance(given, str) or not given.strip():
        raise ValidationError(f"{VARIABLE} is {given!r}, expected the path of a file on the controller")
    if "-----BEGIN " in given:
        raise ValidationError(
            f"{VARIABLE} holds the text of a certificate, expected the path of a file on the controller: write the "
            f"text to a file and set {VARIABLE} to its path"
        )
    path = _found(given, find)
    try:
        with open(path, "rb") as stream:  # the loader calls a directory a missing file
            stream.read(1)
        with open(loader.get_real_file(path), "rb") as stream:
            content = stream.read()
    except (AnsibleError, OSError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValidationError(f"{VARIABLE}: {path} cannot be read on the controller: {reason}") from error
    return read_authority(content, f"{VARIABLE} ({path})")


def _found(given: str, find: t.Callable[[str], str | None]) -> str:
    try:
        path = find(given)
    except AnsibleFileNotFound:
        path = None
    if path is None:
        raise ValidationError(f"{VARIABLE}: the controller has no file {given}: set it to an absolute path")
    return path


def public_key_hashes(pem: str) -> list[str]:
    """Return the SHA-256 of the public key of each certificate, as kubeadm writes it in ``caCertHashes``."""
    certificates = x509.load_pem_x509_certificates(pem.encode())
    keys = [
        each.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        for each in certificates
    ]
    return list(dict.fromkeys(f"sha256:{hashlib.sha256(key).hexdigest()}" for key in keys))
