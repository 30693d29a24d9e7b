# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module rebuild_ledger; its documentation stands in plugins/modules/rebuild_ledger.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import Version, newest_good, open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.recover import (
    UNKNOWN,
    HostRecord,
    RecoveredLedger,
    recover,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import inventory_nodes
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    facts_of,
    settings_of,
)


class ActionModule(LedgerAction):
    """Makes a ledger from what the hosts say, where there is none."""

    options: t.ClassVar[dict[str, t.Any]] = {
        **CLUSTER_OPTIONS,
        "saved": {"type": "dict", "required": True},
        "fleets": {"type": "dict", "required": True},
        "without": {"type": "list", "elements": "str", "default": []},
        "group": {"type": "str", "default": "overlay_nodes"},
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Compares all accounts, then writes."""
        settings, nodes = settings_of(given), inventory_nodes(given["group"], task_vars)
        accounts = {
            name: HostRecord(**{field: saved[field] for field in HostRecord._fields})
            for name, saved in given["saved"].items()
            if saved
        }
        found = RecoveredLedger(accounts, given["fleets"], [name.strip() for name in given["without"]])

        def change(text: str | None, where: str, now: str) -> Ledger:
            if text is not None:
                raise ValidationError(
                    f"there is a ledger at {where} already, or the mark of one that was moved away; none is "
                    f"overwritten: if it is broken, put a good previous version back (the site playbook names one), "
                    f"or move it aside"
                )
            return recover(settings, nodes, found, now)

        good = newest_good(open_store(given["ledger"]))
        ledger, result = self.change_ledger(given["ledger"], change)
        silent = sorted(ledger.nodes.keys() - accounts.keys())
        return {**result, **facts_of(ledger), "silent": silent, "unknown": UNKNOWN, "warnings": _better(good)}


def _better(good: Version | None) -> list[str]:
    """A previous version knows what no host does."""
    if good is None:
        return []
    warning = (
        f"a good previous version of the lost ledger is still there, {good.name}: if nobody was added or released "
        f"since, it is better than this one, and this puts it back: {good.restore}"
    )
    return [warning]
