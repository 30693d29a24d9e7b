# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: what all nodes together say of the way to the API server and the services."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, GOOD, Line, count, some

EVERYTHING = "the API server and every service"
API_SERVER = "the API server"


def judge(failures: t.Mapping[str, str], what: str = EVERYTHING) -> tuple[list[Line], bool]:
    """The lines to print, and whether all reach all; nothing where nobody was asked.

    :param failures: host -> what the module has said against its endpoint; empty where it is well.
    :param what: was asked for.
    """
    hosts: dict[str, list[str]] = {}
    for host, failure in failures.items():
        # What was well before, and differs from host to host, is of interest to nobody here.
        hosts.setdefault(failure.partition(" (stages that passed: ")[0], []).append(host)
    good = hosts.pop("", [])
    lines = [Line(f"{some(names)}: {failure}", BAD) for failure, names in sorted(hosts.items())]
    if not lines and good:
        nodes = count(len(good), "node reaches", "nodes reach")
        lines = [Line(f"load balancer: {nodes} {what} by it", GOOD)]
    return lines, not hosts
