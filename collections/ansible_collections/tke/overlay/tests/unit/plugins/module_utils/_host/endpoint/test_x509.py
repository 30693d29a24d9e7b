# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the description of certificates, and of the check for CA certificates."""

from __future__ import annotations

import datetime

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe, require_ca


def test_describes_a_certificate(pki):
    issued = pki.issue("server", pki.ca, names=["a.example", "10.0.0.9", "fd00::9"])
    begins, ends = (f"{pki.now + datetime.timedelta(days=days):%Y-%m-%d %H:%M:%S} UTC" for days in (-9, 1))
    assert describe(issued.der) == (
        f"subject CN=server, for a.example, 10.0.0.9, fd00::9, by CN=the-ca, valid from {begins} to {ends}"
    )


def test_a_truncated_certificate_cannot_be_read(pki):
    for length in range(0, len(pki.server.der), 7):
        assert describe(pki.server.der[:length]) == "a certificate that cannot be read"


AUTHORITIES = {
    "nothing": (lambda pki: "", "ca holds no readable certificate in PEM form"),
    "a key": (lambda pki: pki.ca.key_pem.decode(), "ca holds no readable certificate in PEM form"),
    "no CA": (lambda pki: pki.server.pem.decode(), "ca holds no CA certificate, only: subject CN=server"),
    "an old CA": (
        lambda pki: pki.issue("old", ca=True, expired=True).pem.decode(),
        "the CA of ca has expired: subject CN=old",
    ),
}


@pytest.mark.parametrize("case", AUTHORITIES)
def test_rejects_a_text_without_a_valid_ca(pki, case):
    text, words = AUTHORITIES[case]
    with pytest.raises(ValidationError, match=words):
        require_ca(text(pki), "ca")


@pytest.mark.parametrize("case", ["nothing", "no CA", "an old CA"])
def test_accepts_a_text_with_one_valid_ca(pki, case):
    text, _words = AUTHORITIES[case]
    require_ca(text(pki) + pki.ca.pem.decode(), "ca")
