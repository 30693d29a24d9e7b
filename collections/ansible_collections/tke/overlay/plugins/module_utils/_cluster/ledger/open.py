# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: where a ledger is kept: the place that a user's ``overlay_ledger`` names, and what helps when it broke."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import (
    IndeterminateWriteError,
    Store,
    Version,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.file import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

__all__ = ["FileStore", "IndeterminateWriteError", "Store", "Version", "newest_good", "open_store"]


def open_store(ledger: str) -> Store:
    """The store at a path on the controller, or at ``etcd://`` or ``etcds://`` (with TLS) ``host:port,.../prefix``.

    :raises ValidationError: a URL of a store that does not exist, or one with a mistake in it.
    """
    scheme, mark, _rest = ledger.partition("://")
    if not mark:
        return FileStore(ledger)
    if scheme in ("etcd", "etcds"):
        # Only here: etcd's client takes a tenth of a second to import, in every task that touches a ledger.
        from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd import (  # noqa: PLC0415
            EtcdStore,
        )

        return EtcdStore(ledger)
    raise ValidationError(
        f"overlay_ledger is {ledger!r}: a ledger is kept in a file (give a path on the controller) or in etcd "
        f"(etcd://host:2379,host:2379/prefix, or etcds:// for TLS)"
    )


def newest_good(store: Store) -> Version | None:
    """The newest previous version that is a ledger one can go on with, for when the present one is broken."""
    for version in store.previous():
        try:
            parse(version.text, version.name, None)
        except ValidationError:
            continue
        return version
    return None
