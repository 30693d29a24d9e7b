# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of the endpoint checks of all nodes: which nodes reach the API server and the services."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    some,
)

EVERYTHING = "the API server and every service"
API_SERVER = "the API server"


def judge(failures: t.Mapping[str, str], what: str = EVERYTHING) -> tuple[list[Line], bool]:
    """Return the lines to print and whether every checked node passed; no line where no node was checked.

    :param failures: host -> the error of its endpoint check; empty where the check passed.
    :param what: the checked targets.
    """
    hosts: dict[str, list[str]] = {}
    for host, failure in failures.items():
        # The stages that passed before the failed one differ from host to host and do not matter here.
        hosts.setdefault(failure.partition(" (stages that passed: ")[0], []).append(host)
    good = hosts.pop("", [])
    lines = [Line(f"{some(names)}: {failure}", BAD) for failure, names in sorted(hosts.items())]
    if not lines and good:
        nodes = count(len(good), "node reaches", "nodes reach")
        lines = [Line(f"API endpoint: {nodes} {what} through the load balancer", GOOD)]
    return lines, not hosts


def outdated_services(services: t.Mapping[str, t.Sequence[str]]) -> list[Line]:
    """Return a line for each service that keeps the former server of a kubeconfig.

    The check of the endpoint is of the node: a program that runs there can have read its kubeconfig before the change.

    :param services: host -> its services that keep the former server.
    """
    return [
        Line(
            f"{some(names)}: {service} uses the former server of its kubeconfig until it restarts; name it in "
            f"overlay_kubeconfig_services to let the playbook restart it",
            BAD,
        )
        for service, names in _hosts_of(services)
    ]


def waiting_services(services: t.Mapping[str, t.Sequence[str]]) -> list[Line]:
    """Return a line for each service that should have been restarted, and was not.

    :param services: host -> its services of overlay_kubeconfig_services that keep the former server.
    """
    return [
        Line(
            f"{some(names)}: {service} was not restarted and uses the former server of its kubeconfig: fix the errors "
            f"and run tke.overlay.site again",
            BAD,
        )
        for service, names in _hosts_of(services)
    ]


def missing_kubeconfigs(paths: t.Mapping[str, t.Sequence[str]]) -> list[Line]:
    """Return a line for each kubeconfig that is not there yet.

    :param paths: host -> those of overlay_kubeconfigs that it does not have.
    """
    remedy = "ansible-playbook tke.overlay.site changes it after the join to the cluster"
    return [Line(f"{some(names)}: kubeconfig {path} is not there yet; {remedy}") for path, names in _hosts_of(paths)]


def _hosts_of(things: t.Mapping[str, t.Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return each thing with the hosts that have it."""
    hosts: dict[str, list[str]] = {}
    for host, names in things.items():
        for name in names:
            hosts.setdefault(name, []).append(host)
    return sorted(hosts.items())
