# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: routes of the main table: node CIDR of a peer -> its VTEP address."""

from __future__ import annotations

import collections
import ipaddress
import json
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import ActualEntry, Run, read_json

BLACKHOLE = "blackhole"

BLACKHOLE_METRIC = 4096
"""Behind the connected route (metric 0) of the Pod bridge, which takes over as soon as there is a bridge."""

_DEFAULT_METRIC = {4: 0, 6: 1024}
"""What the kernel gives a route of this IP version that asks for no metric."""

Row = t.Mapping[str, t.Any]
"""A route as ``ip -json route show`` lists it."""


class RouteTable:
    """The routes of one IP version (4 or 6) in the main table that are ours or in our way.

    Ours are those of our protocol number on our device, and blackholes of it: such
    a route has no device, so it must lie in ``within`` or be ``claimed``. A route
    of our protocol on another device belongs to another task (the way to the load
    balancer, a second overlay).

    The kernel tells routes apart by destination, TOS and metric, and can still hold
    several of them (``ip route prepend``): then the first one counts. The others
    are listed under a key with a number, so that leftovers of ours go.

    :param within: the container CIDRs. Only they are searched for routes of others,
        as a host may have half a million of those; where there are none, all are read.
    :param bridge: the Pod bridge, whose connected routes come and go with its addresses.
    :param claimed: keys of blackholes that are ours; ``None``: all of our protocol.
    """

    name = "route"
    of_device = False

    def __init__(
        self,
        device: str,
        version: int = 4,
        within: t.Sequence[str] = (),
        bridge: str | None = None,
        claimed: t.Collection[str] | None = None,
    ) -> None:
        self.device = device
        self.bridge = bridge
        self.version = version
        self.within = [ipaddress.ip_network(cidr) for cidr in within]
        self.claimed = claimed
        self.program = ("ip", f"-{version}")

    def listings(self, others: bool = True) -> list[t.Sequence[str]]:
        """First our own routes, then those among which others could be.

        :param others: also what is there of others. Whoever reads back what he has put needs it no more.
        """
        show = [*self.program, "-json", "route", "show", "table", "main"]
        # Asked for by number: /etc/iproute2/rt_protos may have given ours a name.
        managed = [*show, "proto", str(ROUTE_PROTOCOL)]
        if not others:
            return [managed]
        return (
            [managed, *([*show, "root", str(network)] for network in self.within)] if self.within else [managed, show]
        )

    def read(self, run: Run, others: bool = True) -> dict[str, ActualEntry]:
        """What is there, by destination and metric.

        :param others: see :meth:`listings`.
        """
        managed, *further = [[(_identity(row), row) for row in read_json(each, run)] for each in self.listings(others)]
        rows = [each for listing in further for each in listing] if others else managed
        known = {identity for identity, _row in managed}
        listed = {identity for identity, _row in rows}
        present: dict[str, ActualEntry] = {}
        seen: t.Counter[str] = collections.Counter()
        for identity, row in [*rows, *(each for each in managed if each[0] not in listed)]:
            if row.get("dev") == self.bridge and row.get("protocol") == "kernel" and self.bridge is not None:
                continue
            found = self._present(row, identity in known)
            if not (found.managed or identity in listed):
                continue  # of our protocol, and another task's
            key = self._key(row)
            seen[key] += 1
            present[key if seen[key] == 1 else f"{key} #{seen[key]}"] = found
        return present

    def _key(self, row: Row) -> str:
        key = route_key(full_prefix(row["dst"], self.version), row.get("metric", 0))
        return f"{key} tos {row['tos']}" if "tos" in row else key

    def _present(self, row: Row, protocol_is_ours: bool) -> ActualEntry:
        spec, here = _spec_of(row), row.get("dev") == self.device
        managed = protocol_is_ours and (here or (row.get("type") == BLACKHOLE and self._has_blackhole(row)))
        return ActualEntry(spec if managed else f"{spec} proto {row.get('protocol', 'boot')}", managed, here)

    def _has_blackhole(self, row: Row) -> bool:
        if self.claimed is None and not self.within:
            return True
        network = ipaddress.ip_network(full_prefix(row["dst"], self.version))
        inside = any(network[0] in other and network[-1] in other for other in self.within)
        return inside or self._key(row) in (self.claimed or ())

    def put(self, key: str, spec: str) -> str:
        """Creates or changes the route to this destination with this metric."""
        return _line("replace", key, spec)

    def drop(self, key: str, spec: str) -> str:
        """Removes this very route, and none that only shares its destination."""
        return _line("del", key.partition(" #")[0], spec)

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        entry = found["key"], found["blackhole"] or found["spec"] or ""
        return entry if self.put(*entry) == line else None


_LINE = re.compile(
    rf"route replace (?:(?P<blackhole>{BLACKHOLE}) )?(?P<key>[0-9a-f.:]+/\d+(?: metric \d+)?(?: tos \S+)?)"
    rf"(?: (?P<spec>\S.*))? proto {ROUTE_PROTOCOL}"
)
"""What :meth:`RouteTable.put` writes."""


def refuse_foreign_routes(present: t.Mapping[str, ActualEntry]) -> None:
    """Makes sure that nobody else has a route inside the container CIDR: it would take packets that are for Pods.

    :param present: what :meth:`RouteTable.read` found ``within`` the container CIDRs.
    :raises ValidationError: naming each.
    """
    strangers = [
        f"route {key} {found.spec} lies in the container CIDR (overlay_container_cidr) and is not ours: "
        f"remove it, or choose another container CIDR"
        for key, found in present.items()
        if not found.managed and not found.here
    ]
    if strangers:
        raise ValidationError(*strangers)


def full_prefix(destination: str, version: int) -> str:
    """A destination as a network: iproute2 writes ``default``, and leaves out the prefix of a single address."""
    if destination == "default":
        return "0.0.0.0/0" if version == 4 else "::/0"
    return destination if "/" in destination else f"{destination}/{32 if version == 4 else 128}"


def route_key(destination: str, metric: int) -> str:
    """How the kernel tells routes apart: destination network, and metric where it is not the default.

    :param destination: a network with prefix, in its short form.
    """
    default = _DEFAULT_METRIC[6 if ":" in destination else 4]
    return destination if metric in (0, default) else f"{destination} metric {metric}"


def via_entry(destination: str, gateway: str, device: str, metric: int = 0) -> tuple[str, str]:
    """Key and specification of a route by way of a VTEP address that no connected network has."""
    return route_key(destination, metric), f"via {gateway} dev {device} onlink"


def blackhole_entry(destination: str, metric: int = BLACKHOLE_METRIC) -> tuple[str, str]:
    """Key and specification of a route that drops: for addresses of the own node CIDR that no Pod has."""
    return route_key(destination, metric), BLACKHOLE


def _identity(row: Row) -> str:
    """A route of one reading among those of another; its protocol apart, which can be shown by number or by name."""
    return repr([item for item in row.items() if item[0] != "protocol"])  # in the order of iproute2; json is slower


def _spec_of(row: Row) -> str:
    if row.get("type") == BLACKHOLE:
        return BLACKHOLE
    words = [str(row["type"])] if row.get("type", "unicast") != "unicast" else []
    words += [f"{shown} {row[name]}" for name, shown in _SHOWN.items() if name in row]
    words += [f"{name} {json.dumps(row[name])}" for name in ("nexthops", "metrics") if name in row]
    words += ["onlink"] if "onlink" in row.get("flags", ()) else []
    return " ".join(words)


_SHOWN = {"gateway": "via", "dev": "dev", "prefsrc": "src"}


def _line(verb: str, key: str, spec: str) -> str:
    blackhole = spec == BLACKHOLE
    # What iproute2 only prints cannot be given back to it; destination, metric and protocol are enough for a removal.
    way = "" if blackhole or "{" in spec else f" {spec}"
    return f"route {verb} {f'{BLACKHOLE} ' if blackhole else ''}{key}{way} proto {ROUTE_PROTOCOL}"
