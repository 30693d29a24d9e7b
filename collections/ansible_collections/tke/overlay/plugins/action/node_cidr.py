# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module node_cidr; its documentation is in plugins/modules/node_cidr.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import InventoryNode
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    facts_of,
    settings_of,
)


class ActionModule(LedgerAction):
    """Assigns node CIDRs to nodes, or releases them."""

    options: t.ClassVar[dict[str, t.Any]] = {
        **CLUSTER_OPTIONS,
        "nodes": {"type": "list", "elements": "raw", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "pending_on": {"type": "list", "elements": "str", "default": []},
        "acknowledged_by": {"type": "list", "elements": "str", "default": []},
        "forget_keys_of": {"type": "list", "elements": "str", "default": []},
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Assign or release node CIDRs, then return the ledger."""
        settings, nodes = settings_of(given), parse_nodes(given["nodes"])
        released: dict[str, str] = {}
        store = open_store(given["ledger"])
        if given["forget_keys_of"] and store.read() is None:  # nothing to forget, and no reason for a new ledger
            facts = facts_of(planner.load_or_create(settings, None, store.where))
            return {"changed": False, **facts, "released": {}, "warnings": []}

        def change(text: str | None, where: str, now: str) -> Ledger:
            if given["state"] == "present":
                ledger = planner.assign(settings, nodes, text, where, now)
                ledger.applied = ledger.applied or bool(nodes)  # the playbook may use them at once
            else:
                ledger = planner.load_or_create(settings, text, where)
                released.update(ledger.release([node.name for node in nodes], given["pending_on"], now))
            ledger.acknowledge(given["acknowledged_by"])
            ledger.forget_keys(given["forget_keys_of"])
            return ledger

        ledger, result = self.change_ledger(given["ledger"], change)
        return {**result, **facts_of(ledger), "released": released, "warnings": ledger.pool.warnings}


def parse_nodes(given: list[t.Any]) -> list[InventoryNode]:
    """Return the nodes of the option ``nodes``.

    :raises ValidationError: one problem for each item that is neither a name nor a dictionary of the known keys.
    """
    nodes, problems = [], []
    for item in given:
        if isinstance(item, str):
            nodes.append(InventoryNode(item))
        elif isinstance(item, dict) and isinstance(item.get("name"), str) and set(item) <= {"name", *_NODE_KEYS}:
            nodes.append(InventoryNode(**item))
        else:
            problems.append(f"nodes: {item!r} is neither a name nor a dictionary with name, {', '.join(_NODE_KEYS)}")
    if problems:
        raise ValidationError(*problems)
    return nodes


_NODE_KEYS = ("node_cidr", "underlay_ip")
