# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the store that ``overlay_ledger`` names (a file or etcd)."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import (
    IndeterminateWriteError,
    Store,
    Version,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.file import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

__all__ = ["FileStore", "IndeterminateWriteError", "Store", "Version", "good_versions", "newest_good", "open_store"]


def open_store(ledger: str) -> Store:
    """Return the store of a path on the controller, or of ``etcd://host:port,.../prefix`` (``etcds://`` with TLS).

    :raises ValidationError: the URL has an unknown scheme or a mistake.
    """
    scheme, mark, _rest = ledger.partition("://")
    if not mark:
        return FileStore(ledger)
    if scheme in ("etcd", "etcds"):
        # Imported only when needed: the import takes 0.1 s, in every task that uses a ledger.
        from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd import (  # noqa: PLC0415
            EtcdStore,
        )

        return EtcdStore(ledger)
    raise ValidationError(
        f"overlay_ledger is {ledger!r}: a ledger is in a file (a path on the controller) or in etcd "
        f"(etcd://host:2379,host:2379/prefix, or etcds:// for TLS)"
    )


def newest_good(store: Store) -> Version | None:
    """Return the newest previous version that is a valid ledger, to replace a broken one."""
    return next((version for version, _ledger in good_versions(store)), None)


def good_versions(store: Store) -> t.Iterator[tuple[Version, Ledger]]:
    """Yield the previous versions that are valid ledgers, newest first."""
    for version in store.previous():
        with contextlib.suppress(ValidationError):
            yield version, parse(version.text, version.name, None)
