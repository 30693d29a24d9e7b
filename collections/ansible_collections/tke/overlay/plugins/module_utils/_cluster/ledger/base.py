# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of a store, which keeps a ledger.

A store holds one text. ``transact`` replaces the text atomically: no second
writer can intervene, and afterwards either the new text is durable or the old
one is unchanged. The store also keeps the previous versions.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

KEPT = 3
"""How many previous versions a store keeps."""

Change = t.Callable[[t.Optional[str]], str]
"""Takes the present text (``None``: there is no ledger yet), returns the new one. May be called more than once."""


class Version(t.NamedTuple):
    """A previous text, its file or key, and the shell command that restores it."""

    name: str
    text: str
    restore: str


class IndeterminateWriteError(ValidationError):
    """A write that may or may not have been carried out, or that may not be durable."""


class NotTextError(ValidationError):
    """The ledger is not a text; a previous version can replace it."""


class Store(t.Protocol):
    """A place that keeps a ledger. ``where`` names it in messages."""

    where: str

    def read(self) -> str | None:
        """Return the present text, or ``None`` when there is no ledger."""

    def transact(self, change: Change) -> None:
        """Replace the text by ``change(text)``; an exception from ``change`` changes nothing."""

    def check_writable(self) -> None:
        """Raise an error if a write would fail, as far as that can be tried without leaving a trace.

        :raises ValidationError: names the reason and the remedy.
        """

    def is_same(self, other: Store) -> bool:
        """Return whether the other store is known to be this one by another name. ``False``: perhaps."""

    def previous(self) -> list[Version]:
        """Return the previous versions that can be read, newest first."""
