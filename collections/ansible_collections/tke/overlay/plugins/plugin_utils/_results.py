# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are not done, from the results that the tasks of a playbook have registered."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import cause_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import first_line
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import Variables, failure_of, succeeded

NO_KEY = "no result of a module has this key"


def failures(hosts: t.Iterable[str], hostvars: Variables, names: t.Sequence[str]) -> dict[str, str]:
    """Return, by host, why it is not done: the first of the registered results that failed or was unreachable."""
    found = {}
    for host in hosts:
        results = hostvars[host]
        for name in names:
            reason = _reason(results.get(name) or {})
            if reason:
                found[host] = reason
                break
    return found


def _reason(result: Variables) -> str:
    if result.get("unreachable"):
        cause = cause_of(str(result.get("msg", "")))
        return f"unreachable: {cause.what}; {cause.remedy}, then run the playbook again"
    return first_line(failure_of(result, NO_KEY), 500) if result.get("failed") else ""


def too_many_failed(hosts: t.Sequence[str], hostvars: Variables, name: str, percentage: t.Any) -> bool:
    """Return whether a batch is a reason not to start the next one.

    That is the case if no host of the batch has succeeded, or if more than a percentage of them has failed. An
    unreachable host has not failed: other hosts do not wait for it.

    :raises ValidationError: the percentage is no number from 0 to 100.
    """
    try:
        share = float(percentage)
    except (TypeError, ValueError):
        raise ValidationError(f"overlay_max_fail_percentage is {percentage!r}: set a number from 0 to 100") from None
    problems = range_problems("overlay_max_fail_percentage", share, 0, 100)
    if problems:
        raise ValidationError(*problems)
    failed = [host for host in hosts if (hostvars[host].get(name) or {}).get("failed")]
    return bool(hosts) and (not succeeded(hosts, hostvars, name) or 100 * len(failed) > share * len(hosts))
