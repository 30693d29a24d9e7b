# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins that work on the ledger share: their options, and one run of a change."""

from __future__ import annotations

import abc
import datetime
import sys
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import Store, newest_good, open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import HAS_NETADDR, ClusterSettings
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

CLUSTER_OPTIONS: dict[str, t.Any] = {
    "ledger": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    "container_cidr": {"type": "list", "elements": "str", "required": True},
    "max_pods_per_node": {"type": "int", "default": 256},
    "max_services": {"type": "int", "default": 256},
    "networks": {"type": "dict", "default": {}},
    "reserved": {"type": "list", "elements": "str", "default": []},
}

Rewrite = t.Callable[[str | None, str, str], ledgers.Ledger]
"""From the ledger's text, the name of its place and the time (UTC, ISO 8601) to the wanted ledger."""


class LedgerAction(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """An action that runs in the controller's own process and may change the ledger; no host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    options: t.ClassVar[dict[str, t.Any]]

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs :meth:`work`; what it refuses becomes the failure of the task."""
        if not HAS_NETADDR:
            raise AnsibleActionFail(
                f"the Python of this controller has no netaddr: run '{sys.executable} -m pip install netaddr'"
            )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            _validation, given = self.validate_argument_spec(argument_spec=self.options)
            result.update(self.work(given, task_vars or {}))
        except ValidationError as refusal:
            # Returned, not raised: ansible-core 2.18 announces a traceback with every exception of an action.
            result.update(failed=True, msg=str(refusal))
        except OverflowError:  # ansible-core's own check of a whole number does not expect infinity
            result.update(failed=True, msg="an option that is a whole number was given as infinity")
        return result

    @abc.abstractmethod
    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The result of the task, from its validated arguments."""

    def change_ledger(self, place: str, change: Rewrite) -> tuple[ledgers.Ledger, dict[str, t.Any]]:
        """The ledger after the change, and ``changed`` and ``diff`` of the result. Check mode writes nothing."""
        store = open_store(place)
        time = now()
        seen: list[tuple[str | None, ledgers.Ledger, str]] = []

        def changed_text(text: str | None) -> str:
            try:
                ledger = change(text, store.where, time)
            except ValidationError as refusal:
                raise with_a_way_out(refusal, text, store) from None
            seen.append((text, ledger, ledger.text()))
            return seen[-1][2]

        if self._task.check_mode:
            changed_text(store.read())
        else:
            store.transact(changed_text)
        before, ledger, after = seen[-1]
        result: dict[str, t.Any] = {"changed": before != after}
        if self._task.diff and result["changed"]:
            result["diff"] = {
                "before_header": store.where,
                "after_header": store.where,
                "before": "" if before is None else ledgers.parse(before, store.where, ledger.cluster).summary(),
                "after": ledger.summary(),
            }
        return ledger, result


def now() -> str:
    """The time as the ledger notes it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def good_text(store: Store, cluster: str | None) -> str:
    """The ledger's text as it stands in the store.

    :param cluster: the cluster it must belong to; ``None``: any.
    :raises ValidationError: there is none, or one that cannot be used.
    """
    text = store.read()
    if text is None:
        raise ValidationError(f"there is no ledger at {store.where} yet: the first run of tke.overlay.site makes it")
    try:
        ledgers.parse(text, store.where, cluster)
    except ValidationError as refusal:
        raise with_a_way_out(refusal, text, store) from None
    return text


def with_a_way_out(refusal: ValidationError, text: str | None, store: Store) -> ValidationError:
    """The refusal to work with this text of the store; where the text is broken, with the version to put back."""
    if text is None or not ledgers.is_broken(text):
        return refusal
    good = newest_good(store)
    way = (
        "there is no good previous version beside it"
        if good is None
        else f"the newest good previous version is {good.name}, and restore it with: {good.restore}"
    )
    return ValidationError(*refusal.problems[:-1], f"{refusal.problems[-1]}; {way}")


def settings_of(given: t.Mapping[str, t.Any]) -> ClusterSettings:
    """The cluster-wide settings among a task's arguments; what it has no option for keeps its default."""
    return ClusterSettings(**{name: given[name] for name in ClusterSettings._fields if name in given})


def facts_of(ledger: ledgers.Ledger) -> dict[str, t.Any]:
    """What every plugin that works on the ledger returns of it."""
    return {
        "assignments": {name: held.node_cidr for name, held in sorted(ledger.nodes.items())},
        "service_cidr": ledger.pool.service_cidr,
        "capacity": dict(ledger.capacity()),
        "pending": {node_cidr: waiting.on for node_cidr, waiting in sorted(ledger.awaited().items())},
    }
