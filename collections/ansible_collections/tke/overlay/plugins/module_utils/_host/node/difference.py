# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a host and compare it with its target, after a check that nothing foreign is in the way."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    LINKS,
    Row,
    check_conflicts,
    link_exists,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import check_foreign_routes
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, listed_together
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult, compare, read_actual
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import DEFAULT_ROUTES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import link_mtu_problems, underlay_jobs
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target


def read_difference(target: Target, run: Run, replace_flannel: bool) -> NodeResult:
    """Read the host and compare it with the target; change nothing.

    :param replace_flannel: regard the routes of flannel to the peers as entries to change.
    :raises ValidationError: a foreign object is in the way, or Pods are.
    """
    if replace_flannel:
        target.tables.routes.former = target.flannel_gateways
    run = listed_together(_listings(target), run, underlay_jobs(target.links))
    links = read_links(run)
    _check_underlay(target, links, run)
    target.wireguard.check(links, run)
    if not target.pods:
        # Few hosts need it, and Python compiles a module at each import on a host.
        from ansible_collections.tke.overlay.plugins.module_utils._host.node.running_pods import (  # noqa: PLC0415
            check_no_pods,
        )

        check_no_pods(target.tables.bridge, links, run)
    actual = read_actual(target, links, run)
    check_foreign_routes(actual.tables[target.tables.routes.name], target.flannel_gateways)
    return compare(target, actual)


def _listings(target: Target) -> list[t.Sequence[str]]:
    """Return what is read of this host, see :func:`compare.read_tables`."""
    tables = target.tables
    of_device = [*tables.fdb.listings(), *tables.neighbors.listings()] if link_exists(target.link.name) else []
    wireguard = [*target.wireguard.checks(), *target.wireguard.wanted_listings()]
    # The slow ones first: a shell starts one after the other.
    return [*target.rules.listings(), *tables.routes.listings(), *of_device, *wireguard, LINKS, DEFAULT_ROUTES]


def _check_underlay(target: Target, links: t.Sequence[Row], run: Run) -> None:
    """Make sure that the VXLAN link can exist, and that the underlay carries the packets of all links.

    :raises ValidationError: names everything that is in the way.
    """
    problems: list[str] = []
    peers = target.underlays
    # Without a VXLAN link, nothing is sent by the device, so its MTU needs nothing of the underlay.
    link = target.link if peers or not target.links.peers else target.link._replace(mtu=None)
    try:
        check_conflicts(link, links, run, peers=peers)
    except ValidationError as error:
        problems += error.problems
    problems += link_mtu_problems(target.links, links, run)
    if problems:
        raise ValidationError(*problems)
