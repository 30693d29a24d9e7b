# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the last screen of a playbook prints about hosts: why some are not done, and which addresses they use."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import cause_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import first_line
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.underlay import EXPLICIT, Underlay
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import numeric_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import variables_of
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import Variables, failure_of, results_of, succeeded

SOURCES = (EXPLICIT, "ansible_host")
"""The variables of an underlay address, in their order."""

NO_KEY = "no result of a module has this key"


def failures(hosts: t.Collection[str], hostvars: Variables, names: t.Sequence[str]) -> dict[str, str]:
    """Return, by host, why it is not done: the first of the registered results that failed or was unreachable."""
    found: dict[str, str] = {}
    for results in results_of(hosts, hostvars, names).values():
        for host, result in results.items():
            reason = "" if host in found else _reason(result)
            if reason:
                found[host] = reason
    return {host: found[host] for host in hosts if host in found}


def _reason(result: Variables) -> str:
    if result.get("unreachable"):
        cause = cause_of(str(result.get("msg", "")))
        return f"unreachable: {cause.what}; {cause.remedy}"
    return first_line(failure_of(result, NO_KEY), 500) if result.get("failed") else ""


OTHER_ADDRESSES = ("ip", "private_ip", "private_ipv4", "internal_ip", "access_ip")
"""Variables in which the inventories of other tools, such as kubespray, have a second address of a host."""


def underlays(
    hosts: t.Iterable[str], hostvars: t.Mapping[str, Variables], fleet: t.Mapping[str, Peer]
) -> dict[str, Underlay]:
    """Return, by host, its underlay address in the plan, and the variables of the inventory that have an address."""
    found = {}
    for host in hosts:
        variables = variables_of(hostvars, host)
        source = next((name for name in SOURCES if variables.get(name) not in (None, "")), "its name")
        address, other = fleet[host].underlay, ("", "")
        for name in OTHER_ADDRESSES:
            parsed = numeric_address(variables.get(name))
            if parsed is not None and str(parsed) != address:
                other = (str(parsed), name)
                break
        found[host] = Underlay(address, source, *other)
    return found


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
    failed = [host for host, result in results_of(hosts, hostvars, [name])[name].items() if result.get("failed")]
    return bool(hosts) and (not succeeded(hosts, hostvars, name) or 100 * len(failed) > share * len(hosts))
