# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the description of certificates."""

from __future__ import annotations

import datetime

from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe


def test_describes_a_certificate(pki):
    issued = pki.issue("server", pki.ca, names=["a.example", "10.0.0.9", "fd00::9"])
    begins, ends = (f"{pki.now + datetime.timedelta(days=days):%Y-%m-%d %H:%M:%S} UTC" for days in (-9, 1))
    assert describe(issued.der) == (
        f"subject CN=server, for a.example, 10.0.0.9, fd00::9, by CN=the-ca, valid from {begins} to {ends}"
    )


def test_a_truncated_certificate_cannot_be_read(pki):
    for length in range(0, len(pki.server.der), 7):
        assert describe(pki.server.der[:length]) == "a certificate that cannot be read"
