# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the fields of a certificate that an error message about it shows.

Python decodes a certificate only after it was verified, and not one that was
rejected. So this module reads the few relevant fields from the DER text. Whether a
certificate is trusted is left to the TLS library.
"""

from __future__ import annotations

import ipaddress
import time
import typing as t

_OIDS = {b"\x55\x04\x03": "CN", b"\x55\x04\x0a": "O"}
_ALT_NAMES = b"\x55\x1d\x11"
_DNS, _ADDRESS = 0x82, 0x87
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}


class Certificate(t.NamedTuple):
    """The fields that an error message shows. ``not_before`` and ``not_after`` limit its validity."""

    subject: str
    issuer: str
    names: list[str]
    not_before: str
    not_after: str

    def __str__(self) -> str:
        names = ", ".join(self.names) or "no name"
        return (
            f"subject {self.subject}, for {names}, by {self.issuer}, valid from {self.not_before} to {self.not_after}"
        )


def describe(der: bytes) -> str:
    """Return the fields of a certificate as text, or that the certificate cannot be read."""
    try:
        return str(parse_certificate(der))
    except (IndexError, ValueError):
        return "a certificate that cannot be read"


def parse_certificate(der: bytes) -> Certificate:
    """Parse a certificate.

    :raises ValueError: the text is not a certificate.
    """
    fields = _parts(_parts(_parts(der)[0][1])[0][1])
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    _serial, _algorithm, issuer, validity, subject = (content for _tag, content in fields[:5])
    not_before, not_after = (_timestamp(tag, content) for tag, content in _parts(validity))
    extensions = [content for tag, content in fields[5:] if tag == _EXTENSIONS]
    return Certificate(_name(subject), _name(issuer), _alt_names(extensions), not_before, not_after)


def first_element(der: bytes) -> bytes:
    """Return the first element of a DER text with its tag and length, without what follows.

    :raises ValueError: it is longer than the text.
    """
    _tag, _begin, end = _extent(der, 0)
    return der[:end]


def _parts(der: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of a DER text as pairs of tag and content."""
    parts, here = [], 0
    while here < len(der):
        tag, begin, here = _extent(der, here)
        parts.append((tag, der[begin:here]))
    return parts


def _extent(der: bytes, here: int) -> tuple[int, int, int]:
    """Return the tag of the element at this position, and where its content begins and ends."""
    tag, length = der[here], der[here + 1]
    here += 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[here : here + size], "big")
        here += size
    if here + length > len(der):
        raise ValueError("an element is longer than the text")
    return tag, here, here + length


def _name(der: bytes) -> str:
    words = []
    for _tag, pairs in _parts(der):
        for _pair_tag, pair in _parts(pairs):
            (_oid_tag, oid), (_text_tag, text) = _parts(pair)
            if oid in _OIDS:
                words.append(f"{_OIDS[oid]}={text.decode('utf-8', 'replace')}")
    return ", ".join(words) or "(no name)"


def _timestamp(tag: int, content: bytes) -> str:
    timestamp = time.strptime(content.decode("ascii"), _TIMES[tag])
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", timestamp)


def _alt_names(extensions: t.Sequence[bytes]) -> list[str]:
    names = []
    for wrapped in extensions:
        for _tag, extension in _parts(_parts(wrapped)[0][1]):
            oid, value = _parts(extension)[0][1], _parts(extension)[-1][1]
            if oid != _ALT_NAMES:
                continue
            for tag, content in _parts(_parts(value)[0][1]):
                if tag == _DNS:
                    names.append(content.decode("ascii", "replace"))
                elif tag == _ADDRESS:
                    names.append(str(ipaddress.ip_address(content)))
    return names
