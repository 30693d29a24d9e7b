# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module rebuild_ledger; its documentation is in plugins/modules/rebuild_ledger.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import Version, newest_good, open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.recover import (
    NOT_RECOVERABLE,
    HostRecord,
    SavedStates,
    keep,
    recover,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import read_inventory
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    facts_of,
    settings_of,
)


class ActionModule(LedgerAction):
    """Rebuilds a lost ledger from the saved states of the hosts."""

    options: t.ClassVar[dict[str, t.Any]] = {
        **CLUSTER_OPTIONS,
        "saved": {"type": "dict", "required": True},
        "fleets": {"type": "dict", "required": True},
        "without": {"type": "list", "elements": "str", "default": []},
        "group": {"type": "str", "default": "overlay_nodes"},
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Compare all records, then write the ledger."""
        settings, inventory = settings_of(given), read_inventory(given["group"], task_vars)
        if inventory.problems:
            raise ValidationError(*inventory.problems)
        records = {
            name: HostRecord(**{field: saved[field] for field in HostRecord._fields if field in saved})
            for name, saved in given["saved"].items()
            if saved
        }
        found = SavedStates(records, given["fleets"], [name.strip() for name in given["without"]])

        def change(text: str | None, where: str, now: str) -> Ledger:
            def rebuild() -> Ledger:
                return recover(settings, inventory.nodes, found, now)

            return rebuild() if text is None else keep(text, where, settings.cluster, rebuild)

        good = newest_good(open_store(given["ledger"]))
        ledger, result = self.change_ledger(given["ledger"], change)
        silent = sorted(ledger.nodes.keys() - records.keys())
        return {
            **result,
            **facts_of(ledger),
            "silent": silent,
            "unknown": NOT_RECOVERABLE,
            "warnings": _warn_of_previous(good),
        }


def _warn_of_previous(good: Version | None) -> list[str]:
    """Return a warning that names a previous version: it contains what the hosts do not save."""
    if good is None:
        return []
    warning = (
        f"the lost ledger has a good previous version, {good.name}: if no node was added or released since, use it "
        f"instead of the rebuilt ledger; restore it with: {good.restore}"
    )
    return [warning]
