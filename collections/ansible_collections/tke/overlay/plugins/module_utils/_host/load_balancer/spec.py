# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The specification of one host of the load balancer pair, and its validation."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import is_ipv4_address, network_problems
from ansible_collections.tke.overlay.plugins.module_utils._balancer import (
    NO_API_SERVERS,
    ProxiedService,
    problems_of_backends,
    problems_of_listeners,
    problems_of_ports,
    problems_of_server,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import directory_problems
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    INVENTORY_NAME_RULE,
    is_host_name,
    is_one_line,
    shown,
)

RESTORE_INTERVAL = 30
"""Default number of seconds between two runs of the timer that restores the rules; the same as on nodes."""


class PairHost(t.NamedTuple):
    """One host of the pair: its name, and the address by which the other host reaches it."""

    name: str
    address: str


class PairSpec(t.NamedTuple):
    """The wanted state of one host of the pair; :func:`problems_of` validates it.

    ``own`` is this host and ``peer`` the other one. This host is the preferred host
    of ``preferred_vip`` and the standby host of the other VIP. ``apiservers`` maps
    names to ``address:port``. ``ca`` is PEM text; if it is empty, the health check of
    the API servers does not verify their certificates. ``restore_interval`` is in
    seconds.
    """

    own: PairHost
    peer: PairHost
    preferred_vip: str
    vips: t.Mapping[str, str]
    subnet: str
    apiservers: t.Mapping[str, str]
    api_port: int
    services: t.Sequence[ProxiedService]
    listeners: t.Sequence[ProxiedService]
    ca: str
    metrics_port: int
    vrid: int
    restore_interval: int = RESTORE_INTERVAL
    cluster: str = ""  # empty: not recorded
    take_over: t.Sequence[str] = ()  # other clusters from which the host may be taken
    metrics_dir: str = ""  # empty: no metrics


def problems_of(spec: PairSpec) -> t.Iterator[str]:
    """Return every problem of a specification, one sentence each."""
    for host in (spec.own, spec.peer):
        yield from _problems_of_name("host", host.name)
        if not is_ipv4_address(host.address):
            yield (
                f"host {shown(host.name)[1:-1]} has the address {shown(host.address)}: set overlay_underlay_ip to an "
                f"IPv4 address"
            )
    if spec.cluster and not is_one_line(spec.cluster):
        yield f"overlay_cluster {shown(spec.cluster)} is not one line of printable characters"
    for vip, address in spec.vips.items():
        if not is_ipv4_address(address):
            yield f"vips: {vip} {shown(address)} is no IPv4 address"
    yield from network_problems("overlay_clb_subnet", spec.subnet)
    if not spec.apiservers:
        yield NO_API_SERVERS
    for name, server in spec.apiservers.items():
        yield from _problems_of_name("API server", name)
        yield from problems_of_server(f"API server {shown(name)[1:-1]}", server)
    yield from range_problems("overlay_clb_vrid", spec.vrid, 1, 254)  # the next number is used, too
    yield from range_problems("overlay_restore_interval", spec.restore_interval, 1, 86_400, "seconds")
    if spec.metrics_dir:
        yield from directory_problems(spec.metrics_dir)
    for variable, port in (("overlay_api_port", spec.api_port), ("overlay_clb_metrics_port", spec.metrics_port)):
        yield from range_problems(variable, port, 1, 65535)
    yield from problems_of_listeners(spec.listeners)
    yield from problems_of_ports(spec.listeners, spec.services, spec.api_port)
    yield from _problems_of_services(spec.services)


def _problems_of_name(what: str, name: str) -> t.Iterator[str]:
    if not INVENTORY_NAME.fullmatch(name):
        yield f"{what} {shown(name)}: {INVENTORY_NAME_RULE}"


def _problems_of_services(services: t.Sequence[ProxiedService]) -> t.Iterator[str]:
    seen: set[str] = set()
    for service in services:
        where = f"overlay_clb_services: {shown(service.name)}"
        if not is_host_name(service.name):
            yield f"{where} is not a host name that a TLS client can send (SNI)"
        if service.name.lower() in seen:
            yield f"{where} is listed twice"
        seen.add(service.name.lower())
        yield from problems_of_backends(where, service.backends)
