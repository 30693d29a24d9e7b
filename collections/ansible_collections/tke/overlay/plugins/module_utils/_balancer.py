# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the private load balancer proxies: its services and listeners, and the rules for them.

The controller checks the inventory before anything changes, and the module on a host
checks its options again, because it can be called directly.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_server
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems
from ansible_collections.tke.overlay.plugins.module_utils._names import LABEL, shown

API, SERVICES = "apiserver", "services"
VIPS = (API, SERVICES)
"""The names of the VIPs. The first prefers the first host of the pair, the second the second host."""

SERVICES_PORT = 443

NO_API_SERVERS = (
    "group apiserver has no hosts, so the VIP of the API servers would have no backend: add the API servers"
)


class ProxiedService(t.NamedTuple):
    """A service behind a VIP, selected by its name (SNI) or, with ``port``, by a listener on a port of its own."""

    name: str
    backends: list[str]
    vip: str = SERVICES
    port: int = 0


def problems_of_listeners(listeners: t.Sequence[ProxiedService]) -> t.Iterator[str]:
    """Return every problem of the listeners by themselves, one sentence each."""
    first: dict[tuple[str, int], str] = {}
    for listener in listeners:
        where = _where(listener)
        if not LABEL.fullmatch(listener.name):
            yield f"{where}: use only letters, digits, '_' and '-' in the name"
        if listener.vip not in VIPS:
            yield f"{where}: unknown VIP {shown(listener.vip)}: set {' or '.join(VIPS)}"
        yield from range_problems(f"{where}: port", listener.port, 1, 65535)
        user = first.setdefault((listener.vip, listener.port), listener.name)
        if user != listener.name:
            yield _taken(listener, f"listener {shown(user)}")
        yield from problems_of_backends(where, listener.backends)
    names = [listener.name for listener in listeners]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"overlay_clb_listeners: {shown(name)} is listed twice"


def problems_of_ports(
    listeners: t.Sequence[ProxiedService], services: t.Sequence[ProxiedService], api_port: int
) -> t.Iterator[str]:
    """Return a problem for each listener on a port that the API servers or the services have."""
    used_by = {(API, api_port): "overlay_api_port"}
    if services:
        used_by[(SERVICES, SERVICES_PORT)] = "overlay_clb_services"
    for listener in listeners:
        user = used_by.get((listener.vip, listener.port))
        if user:
            yield _taken(listener, user)


def problems_of_backends(where: str, backends: t.Sequence[str]) -> t.Iterator[str]:
    """Return every problem of the servers behind a service or a listener."""
    if not backends:
        yield f"{where} has no backends"
    for backend in backends:
        yield from problems_of_server(where, backend)


def problems_of_server(where: str, server: str) -> t.Iterator[str]:
    """Return a problem if a text is no server."""
    if not is_server(server):
        yield f"{where}: {shown(server)} is not host:port, where host is a name or an IPv4 address"


def _where(listener: ProxiedService) -> str:
    return f"overlay_clb_listeners: {shown(listener.name)}"


def _taken(listener: ProxiedService, user: str) -> str:
    return f"{_where(listener)}: port {listener.port} of the VIP {listener.vip} is already used by {user}"
