# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the way to the load balancer's subnet, where a site needs a route of its own for it.

The route has our protocol number and is kept as a batch of one line, which the
script of :mod:`restore` gives back to the kernel. That line is also how a later
run knows which route was ours. It says ``onlink``, so that the script can put it
at boot, before DHCP has given the address that the gateway is reached by.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import Row
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json, run_batch
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE

BATCH_FILE = f"{STATE}/endpoint.batch"


class ApiRoute(t.NamedTuple):
    """What is there and what should be, as ``SUBNET via GATEWAY dev DEVICE onlink``; empty for no route of ours."""

    present: str
    wanted: str

    def put(self, run: Run) -> None:
        """Makes the change, if there is one.

        :raises KernelError: the kernel refused.
        """
        if self.present == self.wanted:
            return
        if self.present.split()[:1] != self.wanted.split()[:1] and self.present:
            run_batch(("ip", "-4"), [_line("del", self.present)], run)
        if self.wanted:
            run_batch(("ip", "-4"), [_line("replace", self.wanted)], run)

    def batch(self) -> str:
        """What to keep; empty for nothing."""
        return f"{_line('replace', self.wanted)}\n" if self.wanted else ""


def find_route(saved: str, subnet: str | None, gateway: str | None, run: Run) -> ApiRoute:
    """Compares.

    :param saved: the batch of an earlier run.
    :param subnet: where the route should lead; ``None``: no route of ours is wanted.
    :raises ValidationError: it cannot be, or somebody else has a route to there by another way.
    """
    old = saved.split()[2:3]
    managed = _ours(old[0], run) if old else []
    if subnet is None or gateway is None:
        return ApiRoute(managed[0] if managed else "", "")
    destination = _network(subnet)
    managed = managed or _ours(destination, run)
    wanted = f"{destination} via {gateway} dev {_device_to(gateway, run)} onlink"
    mine = _ours(destination, run)
    others = [row for row in _routes(destination, [], run) if _text(row) not in mine]
    for row in others:
        if row.get("gateway") != gateway:
            raise ValidationError(
                f"there is a route {_text(row)} that is not ours, and it should go via {gateway}: "
                f"remove that route, or leave 'route' out and let it be"
            )
    return ApiRoute(managed[0] if managed else "", "" if others else wanted)


def _network(subnet: str) -> str:
    try:
        network = ipaddress.ip_network(subnet)
    except ValueError as error:
        raise ValidationError(f"the subnet of the route: {error}") from error
    if network.version != 4:
        raise ValidationError(f"the subnet of the route, {subnet}, is not of IPv4: such a route is not kept yet")
    return str(network if network.prefixlen < 32 else network.network_address)  # as iproute2 lists it


def _device_to(gateway: str, run: Run) -> str:
    try:
        ipaddress.IPv4Address(gateway)
        (row,) = read_json(["ip", "-4", "-json", "route", "get", gateway], run)
    except ValueError as error:
        raise ValidationError(f"the gateway of the route, {gateway}, is no IPv4 address") from error
    except KernelError as error:
        raise ValidationError(f"the gateway of the route, {gateway}, cannot be reached: {error}") from error
    if "gateway" in row or row.get("type", "unicast") != "unicast":
        raise ValidationError(f"the gateway of the route, {gateway}, is in no network of this host")
    return str(row["dev"])


def _ours(destination: str, run: Run) -> list[str]:
    return [_text(row) for row in _routes(destination, ["proto", str(ROUTE_PROTOCOL)], run)]


def _routes(destination: str, condition: t.Sequence[str], run: Run) -> list[Row]:
    """Those to this very subnet that ours would replace: what has a metric stays beside it."""
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
