# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the module metrics, which is documented in plugins/modules/metrics.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import good_versions, open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.metrics import (
    PlaybookRun,
    of_ledger,
    of_run,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import reserve
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import results_of
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import LedgerAction, good_text, now
from ansible_collections.tke.overlay.plugins.plugin_utils._metrics_files import MetricsFiles


class ActionModule(LedgerAction):
    """Writes the metrics of the ledger and of a run to files on the controller."""

    options: t.ClassVar[dict[str, t.Any]] = {
        "ledger": {"type": "str", "required": True},
        "cluster": {"type": "str"},
        "dest": {"type": "path", "required": True},
        "playbook": {"type": "str", "required": True},
        "results": {"type": "list", "elements": "str", "default": []},
        "group": {"type": "str", "default": "overlay_nodes"},
        "reserved": {"type": "list", "elements": "str", "default": []},
    }
    variables: t.ClassVar[dict[str, str]] = {
        "ledger": "overlay_ledger",
        "cluster": "overlay_cluster",
        "dest": "overlay_controller_metrics_dir",
        "reserved": "overlay_reserved",
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Write the metrics. What prevents that is a warning: it must not break the run that is measured."""
        try:
            files = self._write(given, task_vars)
        except ValidationError as error:
            warning = f"the metrics of the controller were not written: {error}"
            return {"changed": False, "files": [], "warnings": [warning]}
        return {"changed": False, "files": files}

    def _write(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> list[str]:
        store = open_store(given["ledger"])
        ledger = ledgers.parse(good_text(store, given["cluster"]), store.where, given["cluster"])
        reserve(ledger, given["reserved"])
        orphans = ledger.nodes.keys() - set(task_vars["groups"].get(given["group"], ()))
        run = PlaybookRun(given["playbook"], now(), _not_reached(given["results"], task_vars))
        files = MetricsFiles(given["dest"], ledger.cluster)
        texts = {
            "": of_ledger(ledger, [version for _name, version in good_versions(store)], orphans, run.at),
            run.playbook: of_run(ledger.cluster, run),
        }
        return [files.path(name) if self._task.check_mode else files.write(name, texts[name]) for name in texts]


def _not_reached(results: t.Sequence[str], task_vars: dict[str, t.Any]) -> int:
    """Return how many hosts of the play one of the registered results shows as unreachable."""
    found = results_of(task_vars.get("ansible_play_hosts_all", ()), task_vars["hostvars"], results)
    return len({host for each in found.values() for host, result in each.items() if result.get("unreachable")})
