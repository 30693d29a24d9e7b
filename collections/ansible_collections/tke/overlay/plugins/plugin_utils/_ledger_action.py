# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the actions that use the ledger: common options, and one transaction on the ledger."""

from __future__ import annotations

import abc
import datetime
import sys
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import git_conflict
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import NotTextError
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import has_conflict
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    Store,
    good_versions,
    newest_good,
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import is_overwritten
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import (
    ContradictedLedgerError,
    SavedPlans,
    agrees,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import HAS_NETADDR, ClusterSettings
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    problems_of_variable,
    spec_of,
)
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

NO_SAVED_PLANS = SavedPlans({})

Rewrite = t.Callable[[str | None, str, str], ledgers.Ledger]
"""Takes the ledger's text, the name of its store and the time (UTC, ISO 8601), returns the new ledger."""


class LedgerAction(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """An action that runs on the controller and may change the ledger; it contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    options: t.ClassVar[dict[str, t.Any]]
    variables: t.ClassVar[dict[str, str]] = {name: f"overlay_{name}" for name in CLUSTER_OPTIONS}
    """Option -> the variable of which a role takes its value; errors name that."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run :meth:`work`; a validation error becomes the failure of the task."""
        if not HAS_NETADDR:
            raise AnsibleActionFail(
                f"the Python of this controller has no netaddr: run '{sys.executable} -m pip install netaddr'"
            )
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            result.update(self.work(self.arguments(task_vars or {}), task_vars or {}))
        except ValidationError as error:
            # Returned, not raised: ansible-core 2.18 shows a traceback for every exception of an action.
            result.update(failed=True, msg=str(error), warnings=self.warnings(task_vars or {}))
        except OverflowError:  # ansible-core's check of an integer does not handle infinity
            result.update(failed=True, msg="an integer option is infinity: set it to a number")
        return result

    def warnings(self, task_vars: dict[str, t.Any]) -> list[str]:
        """Return warnings that belong to errors, too."""
        return []

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the validated arguments.

        :raises ValidationError: names every missing and every invalid one.
        """
        missing = [f"{self.variables.get(name, name)} is not set" for name in self.missing_arguments()]
        invalid = [problem for problems in self.invalid_arguments().values() for problem in problems]
        if missing or invalid:
            raise ValidationError(*missing, *invalid)
        _validation, given = self.validate_argument_spec(argument_spec=self.options)
        for name, option in self.options.items():
            if option.get("elements") == "str" and given[name] is not None:
                given[name] = [text.strip() for text in given[name]]  # "a, b" of the command line
        return t.cast(dict[str, t.Any], given)

    def missing_arguments(self) -> list[str]:
        """Return the required options that the task does not set."""
        return [
            name
            for name, option in self.options.items()
            if option.get("required") and self._task.args.get(name) is None
        ]

    def invalid_arguments(self) -> dict[str, list[str]]:
        """Return the problems of each option that has any."""
        problems = {
            name: problems_of_variable(self.variables.get(name, name), value, spec_of(self.options[name]))
            for name, value in self._task.args.items()
            if name in self.options and value is not None
        }
        return {name: found for name, found in problems.items() if found}

    @abc.abstractmethod
    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the result of the task, from its validated arguments."""

    def change_ledger(
        self, place: str, change: Rewrite, found: SavedPlans = NO_SAVED_PLANS, require_writable: bool = False
    ) -> tuple[ledgers.Ledger, dict[str, t.Any]]:
        """Return the changed ledger, and ``changed`` and ``diff`` of the result. Check mode writes nothing.

        :param found: the plans of hosts with which ``change`` compares the ledger; an error names a previous version
            that agrees with them.
        :param require_writable: try in check mode, too, whether the store can be written.
        """
        store = open_store(place)
        time = now()
        seen: list[tuple[str | None, ledgers.Ledger, str]] = []

        def changed_text(text: str | None) -> str:
            try:
                ledger = change(text, store.where, time)
            except ContradictedLedgerError as error:
                raise with_agreeing_version(error, store, found) from None
            except ValidationError as error:
                raise with_remedy(error, text, store) from None
            seen.append((text, ledger, ledger.text()))
            return seen[-1][2]

        try:
            if self._task.check_mode:
                problems = problems_of_store(store) if require_writable else []
                try:
                    changed_text(store.read())
                except ValidationError as error:
                    if isinstance(error, NotTextError) or not problems:
                        raise
                    raise ValidationError(*error.problems, *problems) from None
                if problems:
                    raise ValidationError(*problems)
            else:
                store.transact(changed_text)
        except NotTextError as error:
            raise with_previous(error, store) from None
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


def problems_of_store(store: Store) -> list[str]:
    """Return why the ledger cannot be written, after an attempt that leaves no trace; nothing if it can."""
    try:
        store.check_writable()
    except ValidationError as error:
        return error.problems
    return []


def now() -> str:
    """Return the present time in the format of the ledger: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def good_text(store: Store, cluster: str | None) -> str:
    """Return the text of the ledger in the store.

    :param cluster: the cluster it must belong to; ``None``: any.
    :raises ValidationError: there is no ledger, or it is invalid.
    """
    try:
        text = store.read()
    except NotTextError as error:
        raise with_previous(error, store) from None
    if text is None:
        good = newest_good(store)
        lost = "" if good is None else f". A lost ledger has left {good.name}; restore it with: {good.restore}"
        raise ValidationError(
            f"there is no ledger at {store.where} yet: the first run of tke.overlay.site creates it. If the cluster "
            f"has nodes already, check overlay_ledger and the inventory (-i){lost}"
        )
    try:
        ledgers.parse(text, store.where, cluster)
    except ValidationError as error:
        raise with_remedy(error, text, store) from None
    return text


def with_remedy(error: ValidationError, text: str | None, store: Store) -> ValidationError:
    """Return the error about this text; when the text is broken, with the command that restores a previous version."""
    if text is None or not (ledgers.is_broken(text) or is_overwritten(text, store.where)):
        return error
    if has_conflict(text):
        return ValidationError(*error.problems[:-1], f"{error.problems[-1]}; {git_conflict.cure(text, store.where)}")
    return with_previous(error, store)


def with_previous(error: ValidationError, store: Store) -> ValidationError:
    """Return the error, with the command that restores the newest good version."""
    good = newest_good(store)
    remedy = (
        "there is no good previous version"
        if good is None
        else f"the newest good previous version is {good.name}; restore it with: {good.restore}"
    )
    return ValidationError(*error.problems[:-1], f"{error.problems[-1]}; {remedy}")


def with_agreeing_version(error: ContradictedLedgerError, store: Store, found: SavedPlans) -> ValidationError:
    """Return the error, with the command that restores a previous version that agrees with the hosts."""
    for version, ledger in good_versions(store):
        if agrees(ledger, found):
            reason, *others = error.problems
            remedy = f"the previous version {version.name} agrees with these hosts; restore it with: {version.restore}"
            return ValidationError(f"{reason}; {remedy}", *others)
    return error


def notice_of_new(store: Store, cluster: str) -> str:
    """Return the warning that a run begins a new ledger."""
    good = newest_good(store)
    lost = "" if good is None else f". A lost ledger has left {good.name}; restore it with: {good.restore}"
    return (
        f"there is no ledger at {store.where}, so a NEW one begins. If cluster {cluster!r} has nodes already, stop: "
        f"its ledger is lost or elsewhere, see overlay_ledger and the inventory (-i){lost}"
    )


def settings_of(given: t.Mapping[str, t.Any]) -> ClusterSettings:
    """Return the cluster-wide settings in a task's arguments; settings without an option keep their defaults."""
    return ClusterSettings(**{name: given[name] for name in ClusterSettings._fields if name in given})


def facts_of(ledger: ledgers.Ledger) -> dict[str, t.Any]:
    """Return the values of the ledger that every action returns."""
    return {
        "assignments": {name: held.node_cidr for name, held in sorted(ledger.nodes.items())},
        "service_cidr": ledger.pool.service_cidr,
        "capacity": dict(ledger.capacity()),
        "pending": {node_cidr: waiting.on for node_cidr, waiting in sorted(ledger.awaited().items())},
    }
