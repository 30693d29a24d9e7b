# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of the load balancer with each other, before the planner writes the ledger."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._balancer import NO_API_SERVERS, problems_of_ports
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import proxied
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

DEFAULT_API_PORT = 6443

VARIABLES = tuple(
    f"overlay_{name}" for name in ("cluster", "api_name", "api_port", "clb_services", "clb_listeners", "clb_provider")
)
"""What the checks use, besides ``overlay_clb_subnet``, without which there is no load balancer."""


def problems_of_balancer(values: t.Mapping[str, t.Any], apiservers: t.Sequence[str]) -> list[str]:
    """Return every conflict between variables of the load balancer.

    :param values: the value of each of :data:`VARIABLES`, ``None`` where it is not set; each is valid by itself.
    :param apiservers: the hosts of group ``apiserver``.
    """
    services = proxied(values["overlay_clb_services"] or [])
    problems = _problems_of_names(values, [service.name for service in services])
    if (values["overlay_clb_provider"] or "pair") != "pair":
        return problems
    port = int(values["overlay_api_port"] or DEFAULT_API_PORT)
    problems += problems_of_ports(proxied(values["overlay_clb_listeners"] or []), services, port)
    return [*problems, *([] if apiservers else [NO_API_SERVERS])]


def _problems_of_names(values: t.Mapping[str, t.Any], services: t.Sequence[str]) -> list[str]:
    """Return a problem if a service has the name of the API server: it has one address on the nodes."""
    given = values["overlay_api_name"]
    name = given or f"api.{values['overlay_cluster']}.internal"
    if name not in services:
        return []
    where = "overlay_api_name" if given else "by default, see overlay_api_name"
    text = f"is the name of the API server ({where}), which has the other VIP: give one of them another name"
    return [f"overlay_clb_services: {shown(name)} {text}"]
