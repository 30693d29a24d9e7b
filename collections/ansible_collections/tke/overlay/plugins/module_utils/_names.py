# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of names and texts that come from an inventory.

What passes these checks can stand in a batch of iproute2, in rules of nft, in the
configurations of HAProxy and keepalived, in ``/etc/hosts``, in a unit and in a shell
script without a meaning of its own there. The controller checks the inventory, and
each module on a host checks its options again, because a module can be called
directly.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import re
import typing as t

MOST_SHOWN = 100
"""Characters of a value that an error shows."""

INVENTORY_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
"""The name of a host of the inventory."""

INVENTORY_NAME_RULE = "a name has letters, digits, '.', '_' and '-', with a letter or digit at both ends"

LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""A name that a user chooses for something of a configuration, or for a site."""

LABEL_RULE = "a name has 1 to 63 letters, digits, '_' and '-', and begins with a letter or digit"

_PART = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_PART}\.)*(?![0-9]+$){_PART}")


def is_host_name(text: str) -> bool:
    """Whether a text is a host name of the DNS. Its last part has a letter: otherwise it is a mistyped address."""
    return _HOST_NAME.fullmatch(text) is not None


def is_one_line(text: str) -> bool:
    """Whether a text is one line that reads as it is: not empty, without control, format and separator characters.

    The last are line separators, and characters that change the direction of the text behind them.
    """
    return bool(text) and text.isprintable() and text == text.strip()


def shown(value: t.Any) -> str:
    """Return a value for an error: quoted, on one line, and cut off if it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} characters)"


def path_problems(what: str, path: str) -> list[str]:
    """Return one problem if a text is not an absolute path on one line, none otherwise.

    :param what: the variable or option, as the user wrote it.
    """
    if not path.startswith("/"):
        return [f"{what} {shown(path)} is not an absolute path"]
    return [] if path.isprintable() else [f"{what} {shown(path)} has characters that cannot be printed: remove them"]
