# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route to the subnet of the load balancer, where a site needs one of its own.

The route has the protocol number of this collection and is saved as a batch of one
line, from which the restore script puts it back. A later run reads from that line
which route is managed. The line has ``onlink``, so that the script can add the route
at boot before DHCP has assigned the address by which the gateway is reached.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import Row
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json, run_batch


class ApiRoute(t.NamedTuple):
    """The present and the wanted route, as ``SUBNET via GATEWAY dev DEVICE onlink``; empty for no managed route."""

    present: str
    wanted: str

    def put(self, run: Run) -> None:
        """Make the change, if there is one.

        :raises KernelError: the kernel rejects it.
        """
        if self.present == self.wanted:
            return
        if self.present.split()[:1] != self.wanted.split()[:1] and self.present:
            run_batch(("ip", "-4"), [_line("del", self.present)], run)
        if self.wanted:
            run_batch(("ip", "-4"), [_line("replace", self.wanted)], run)

    def batch(self) -> str:
        """Return the text of the batch file; empty for no file."""
        return f"{_line('replace', self.wanted)}\n" if self.wanted else ""


def find_route(saved: str, subnet: str | None, gateway: str | None, run: Run) -> ApiRoute:
    """Compare the wanted route with the present one.

    :param saved: the batch of an earlier run.
    :param subnet: the destination of the route; ``None``: no managed route is wanted.
    :raises ValidationError: the route is impossible, or a foreign route to the subnet has another gateway.
    """
    old = saved.split()[2:3]
    managed = managed_routes(old[0], run) if old else []
    if subnet is None or gateway is None:
        return ApiRoute(managed[0] if managed else "", "")
    destination = _network(subnet)
    managed = managed or managed_routes(destination, run)
    wanted = f"{destination} via {gateway} dev {_device_to(gateway, run)} onlink"
    managed_here = managed_routes(destination, run)
    foreign = [row for row in _routes(destination, [], run) if _text(row) not in managed_here]
    for row in foreign:
        if row.get("gateway") != gateway:
            raise ValidationError(
                f"the foreign route {_text(row)} conflicts with the wanted one via {gateway}: remove that route, or "
                f"leave out the option 'route' to keep it"
            )
    return ApiRoute(managed[0] if managed else "", "" if foreign else wanted)


def _network(subnet: str) -> str:
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise ValidationError(f"the subnet of the route: {error}") from error
    if network.version != 4:
        raise ValidationError(f"the subnet of the route, {subnet}, is not an IPv4 subnet; IPv6 is not supported here")
    return str(network if network.prefixlen < 32 else network.network_address)  # as iproute2 lists it


def _device_to(gateway: str, run: Run) -> str:
    try:
        ipaddress.IPv4Address(gateway)
        (row,) = read_json(["ip", "-4", "-json", "route", "get", gateway], run)
    except ValueError as error:
        raise ValidationError(f"the gateway of the route, {gateway}, is no IPv4 address") from error
    except KernelError as error:
        raise ValidationError(f"the gateway of the route, {gateway}, is unreachable: {error}") from error
    if "gateway" in row or row.get("type", "unicast") != "unicast":
        raise ValidationError(f"the gateway of the route, {gateway}, is not in a network of this host")
    return str(row["dev"])


def managed_routes(destination: str, run: Run) -> list[str]:
    """Return the managed routes to this subnet, as in :class:`ApiRoute`."""
    return [_text(row) for row in _routes(destination, ["proto", str(ROUTE_PROTOCOL)], run)]


def _routes(destination: str, condition: t.Sequence[str], run: Run) -> list[Row]:
    """Return the routes to exactly this subnet, except those with a metric: they coexist with the managed one."""
    show = ["ip", "-4", "-json", "route", "show", "table", "main", "exact", destination, *condition]
    return [row for row in read_json(show, run) if "metric" not in row]


def _text(row: Row) -> str:
    words = [
        str(row["dst"]),
        *(f"{word} {row[key]}" for key, word in (("gateway", "via"), ("dev", "dev")) if key in row),
    ]
    return " ".join([*words, *(["onlink"] if "onlink" in row.get("flags", ()) else [])])


def _line(verb: str, spec: str) -> str:
    return f"route {verb} {spec} proto {ROUTE_PROTOCOL}"
