# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: what every place of a ledger promises.

A store holds one text. ``transact`` turns it into another as one step that no
second writer can come between: either the new text is durable, or the old one
is untouched. The versions before it are kept beside it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

KEPT = 3
"""How many previous versions stay beside the ledger."""

Change = t.Callable[[t.Optional[str]], str]
"""From the present text (``None``: there is none yet) to the wanted one. May be called more than once."""


class Version(t.NamedTuple):
    """A previous text: its name beside the ledger, and the command by which an operator puts it back."""

    name: str
    text: str
    restore: str


class IndeterminateWriteError(ValidationError):
    """A write of which nobody can say now whether it was carried out, or will last."""


class Store(t.Protocol):
    """What floors above need of a ledger's place."""

    where: str

    def read(self) -> str | None:
        """The present text, or ``None``."""

    def transact(self, change: Change) -> None:
        """Replaces the text by ``change(text)``; an exception from ``change`` leaves all as it was."""

    def previous(self) -> list[Version]:
        """The versions before the present one that can be read, newest first."""
