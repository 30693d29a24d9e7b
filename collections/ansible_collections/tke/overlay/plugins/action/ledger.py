# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module ledger; its documentation is in plugins/modules/ledger.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import (
    check_writable,
    inspect,
    migrate,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import LedgerAction, facts_of, now


class ActionModule(LedgerAction):
    """Moves a ledger to another store."""

    options: t.ClassVar[dict[str, t.Any]] = {
        "src": {"type": "str", "required": True},
        "dest": {"type": "str", "required": True},
        "cluster": {"type": "str"},
    }
    variables: t.ClassVar[dict[str, str]] = {
        "src": "overlay_ledger_from",
        "dest": "overlay_ledger_to",
        "cluster": "overlay_cluster",
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Inspect both stores, try whether they can be written, then move the ledger."""
        source, target = open_store(given["src"]), open_store(given["dest"])
        move = inspect(source, target, given["cluster"])
        check_writable(move)
        if not self._task.check_mode:
            migrate(move, now())
        result = {"changed": not move.finished, "src": source.where, "dest": target.where, **facts_of(move.ledger)}
        if self._task.diff and result["changed"]:
            summary = move.ledger.summary()
            result["diff"] = [
                {**_header(source.where), "before": summary, "after": f"moved to {target.where}\n"},
                {**_header(target.where), "before": summary if move.copied else "", "after": summary},
            ]
        return result


def _header(where: str) -> dict[str, str]:
    return {"before_header": where, "after_header": where}
