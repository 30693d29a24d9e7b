# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Routes of the main table: node CIDR of a peer -> its VTEP address, its underlay address, or a WireGuard device."""

from __future__ import annotations

import collections
import ipaddress
import json
import re
import types
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    AsWanted,
    Run,
    Wanted,
    listed_lines,
    only_wanted,
    read_json,
)

BLACKHOLE = "blackhole"

BLACKHOLE_METRIC = 4096
"""Larger than that of the connected route of the Pod bridge (0), so that the latter wins once the bridge exists."""

_DEFAULT_METRIC = {4: 0, 6: 1024}
"""IP version -> metric of a route that is created without one."""

Row = t.Mapping[str, t.Any]
"""A route as ``ip -json route show`` lists it."""


class FormerRoute(t.NamedTuple):
    """How this host sent to a peer before a cutover: its saved route, and for VXLAN the peer's underlay address."""

    spec: str
    underlay: str


class RouteTable:
    """The managed routes of one IP version (4 or 6) in the main table, and the foreign routes that conflict with them.

    Routes of protocol 144 on the device are managed, and so is every route of that
    protocol ``within`` the container CIDRs: a direct link leads by the underlay's
    link, WireGuard by a device of its own, and a blackhole has no device. A blackhole
    can be ``claimed`` as well. Any other route of protocol 144 belongs to another task
    (the route to the load balancer, a second overlay).

    Destination, TOS and metric identify a route, but the kernel can hold several
    with the same ones (``ip route prepend``): then the first one is used. The others
    have a number in their key, so that managed leftovers are removed.

    :param within: the container CIDRs. Foreign routes are searched in them only, because
        a host can have half a million routes; without any, all routes are read.
    :param bridge: the Pod bridge, whose connected routes appear and disappear with its addresses.
    :param claimed: keys of managed blackhole routes; ``None``: all of protocol 144.
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
        self.former: t.Mapping[str, t.Collection[str]] = {}
        """Key -> gateways of the routes of a former overlay (flannel), which are replaced in their place."""

    def listings(self, others: bool = True) -> list[t.Sequence[str]]:
        """Return the command that lists the routes of protocol 144, then those that can list foreign routes.

        :param others: also list the foreign routes. Not needed for reading back a change.
        """
        return self._listings(self.program, others)

    def _listings(self, program: t.Sequence[str], others: bool) -> list[t.Sequence[str]]:
        show = [*program, "route", "show", "table", "main"]
        # By number: /etc/iproute2/rt_protos can contain a name for it.
        managed = [*show, "proto", str(ROUTE_PROTOCOL)]
        if not others:
            return [managed]
        return (
            [managed, *([*show, "root", str(network)] for network in self.within)] if self.within else [managed, show]
        )

    def read(self, run: Run, wanted: Wanted | None = None, *, others: bool = True) -> t.Mapping[str, ActualEntry]:
        """Return the actual routes, by destination and metric.

        :param wanted: see :meth:`tables.ReadableTable.read`.
        :param others: see :meth:`listings`.
        """
        found = self._read_lines(run, wanted, others) if wanted else None
        return self._read_rows(run, others) if found is None else found

    def _read_lines(self, run: Run, wanted: Wanted, others: bool) -> t.Mapping[str, ActualEntry] | None:
        """Return the actual routes if they are all wanted, and if the other listings show no route but these."""
        managed, *further = self.listings(others)
        lines = listed_lines(managed, run)
        found = only_wanted(_batch_of(lines), wanted, self.put)
        if found is None:  # else none of them has to be examined
            lines = [line for line in lines if not self._is_of_another_task(line)]
            found = only_wanted(_batch_of(lines), wanted, self.put)
        if not others or found is None:
            return found
        of_bridge = f" dev {self.bridge} proto kernel "
        rest = [line for each in further for line in listed_lines(each, run) if of_bridge not in line]
        # The first listing does not show the protocol, because it was asked for it.
        rest = _PROTOCOL.sub("", "\n".join(rest)).split("\n") if rest else []
        return found if rest == lines or sorted(rest) == sorted(lines) else None

    def _is_of_another_task(self, line: str) -> bool:
        """Return whether a line of protocol 144 shows the route of another task, such as that to the load balancer."""
        if f" dev {self.device} " in line:
            return False
        found = _UNICAST.match(line)
        return found is not None and found["device"] != self.device and not self._is_within(found["destination"])

    def _read_rows(self, run: Run, others: bool) -> dict[str, ActualEntry]:
        listings = self._listings([*self.program, "-json"], others)
        managed, *further = [[(_identity(row), row) for row in read_json(each, run)] for each in listings]
        rows = [each for listing in further for each in listing] if others else managed
        known = {identity for identity, _row in managed}
        listed = {identity for identity, _row in rows}
        actual: dict[str, ActualEntry] = {}
        seen: t.Counter[str] = collections.Counter()
        for identity, row in [*rows, *(each for each in managed if each[0] not in listed)]:
            if row.get("dev") == self.bridge and row.get("protocol") == "kernel" and self.bridge is not None:
                continue
            found = self._actual(row, identity in known)
            if not (found.managed or identity in listed):
                continue  # a route of protocol 144 that belongs to another task
            key = self._key(row)
            seen[key] += 1
            if not found.managed and seen[key] == 1 and row.get("gateway") in self.former.get(key, ()):
                found = found._replace(on_device=True)
            actual[key if seen[key] == 1 else f"{key} #{seen[key]}"] = found
        return actual

    def _key(self, row: Row) -> str:
        key = route_key(full_prefix(row["dst"], self.version), row.get("metric", 0))
        return f"{key} tos {row['tos']}" if "tos" in row else key

    def _actual(self, row: Row, has_protocol: bool) -> ActualEntry:
        spec, on_device = _spec_of(row), row.get("dev") == self.device
        managed = has_protocol and (on_device or self._manages(row))
        return ActualEntry(spec if managed else f"{spec} proto {row.get('protocol', 'boot')}", managed, on_device)

    def _manages(self, row: Row) -> bool:
        """Return whether a route of protocol 144 that is not on the device is managed."""
        blackhole = row.get("type") == BLACKHOLE
        if blackhole and ((self.claimed is None and not self.within) or self._key(row) in (self.claimed or ())):
            return True
        return self._is_within(row["dst"])

    def _is_within(self, destination: str) -> bool:
        network = ipaddress.ip_network(full_prefix(destination, self.version))
        return any(network[0] in other and network[-1] in other for other in self.within)

    def put(self, key: str, spec: str) -> str:
        """Return the line that creates or changes the route to this destination with this metric."""
        return f"route replace {_listed(key, spec)} proto {ROUTE_PROTOCOL}"

    def drop(self, key: str, spec: str) -> str:
        """Return the line that removes this route, but no other one to the same destination."""
        return f"route del {_words(key.partition(' #')[0], spec)} proto {ROUTE_PROTOCOL}"

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        entry = found["key"], found["blackhole"] or (found["spec"] or "").replace(_ON_DEVICE, "", 1)
        return entry if self.put(*entry) == line else None


_LINE = re.compile(
    rf"route replace (?:(?P<blackhole>{BLACKHOLE}) )?(?P<key>[0-9a-f.:]+/\d+(?: metric \d+)?(?: tos \S+)?)"
    rf"(?: (?P<spec>\S.*))? proto {ROUTE_PROTOCOL}"
)
"""What :meth:`RouteTable.put` writes."""


def check_foreign_routes(
    actual: t.Mapping[str, ActualEntry], flannel: t.Mapping[str, t.Collection[str]] = types.MappingProxyType({})
) -> None:
    """Make sure that no foreign route lies in the container CIDR: it would divert packets that are sent to Pods.

    :param actual: what :meth:`RouteTable.read` found ``within`` the container CIDRs.
    :param flannel: the gateways of the routes that flannel would have, by key.
    :raises ValidationError: naming each foreign route.
    """
    if isinstance(actual, AsWanted):
        return
    foreign = [
        f"the foreign route {key} {found.spec} lies in the container CIDR (overlay_container_cidr): "
        + (
            "if flannel has made it, set overlay_remove_flannel=true to replace it without a loss; otherwise remove it"
            if gateway_of(found.spec) in flannel.get(key, ())
            else "remove it, or choose another container CIDR"
        )
        for key, found in actual.items()
        if not found.managed and not found.on_device
    ]
    if foreign:
        raise ValidationError(*foreign)


def gateway_of(spec: str) -> str:
    """Return the gateway in the specification of a route, empty without one."""
    return _word_after("via", spec)


def device_of(spec: str) -> str:
    """Return the link in the specification of a route, empty without one."""
    return _word_after("dev", spec)


def _word_after(keyword: str, spec: str) -> str:
    words = spec.split()
    return words[words.index(keyword) + 1] if keyword in words[:-1] else ""


def full_prefix(destination: str, version: int) -> str:
    """Return a destination as a network: iproute2 prints ``default``, and no prefix length for a single address."""
    if destination == "default":
        return "0.0.0.0/0" if version == 4 else "::/0"
    return destination if "/" in destination else f"{destination}/{32 if version == 4 else 128}"


def route_key(destination: str, metric: int) -> str:
    """Return what identifies a route: the destination network, and the metric unless it is the default.

    :param destination: a network with prefix, in its short form.
    """
    if not metric or metric == _DEFAULT_METRIC[6 if ":" in destination else 4]:
        return destination
    return f"{destination} metric {metric}"


def via_entry(destination: str, gateway: str, device: str, metric: int = 0, mtu: int | None = None) -> tuple[str, str]:
    """Return key and specification of a route through a VTEP address, which is in no connected network.

    :param mtu: of the link, if it is less than that of the device.
    """
    rest = "" if mtu is None else f" mtu {mtu}"
    return route_key(destination, metric), f"via {gateway} dev {device} onlink{rest}"


def blackhole_entry(destination: str, metric: int = BLACKHOLE_METRIC) -> tuple[str, str]:
    """Return key and specification of a route that drops packets to unused addresses of the own node CIDR."""
    return route_key(destination, metric), BLACKHOLE


def direct_entry(destination: str, gateway: str, device: str, source: str, mtu: int) -> tuple[str, str]:
    """Return key and specification of a route to a neighbour of the underlay.

    :param source: the address of the packets of this host.
    :param mtu: of the link. It is always there: the device can have a larger MTU than the line.
    """
    family = "inet6 " if ":" in gateway else ""
    return route_key(destination, 0), f"via {family}{gateway} dev {device} src {source} mtu {mtu}"


def device_entry(destination: str, device: str, source: str, mtu: int) -> tuple[str, str]:
    """Return key and specification of a route by a device that finds the peer itself, as WireGuard does."""
    return route_key(destination, 0), f"dev {device} src {source} mtu {mtu}"


def mtu_of(spec: str) -> int | None:
    """Return the MTU in the specification of a route, ``None`` without one."""
    found = _word_after("mtu", spec)
    return int(found) if found.isdigit() else None


def _identity(row: Row) -> str:
    """Return a text that identifies a route in two listings. It excludes the protocol, a number or a name."""
    return repr([item for item in row.items() if item[0] != "protocol"])  # the order is stable, and json is slower


def _spec_of(row: Row) -> str:
    if row.get("type") == BLACKHOLE:
        return BLACKHOLE
    words = [str(row["type"])] if row.get("type", "unicast") != "unicast" else []
    words += [f"via {row['via']['family']} {row['via']['host']}"] if "via" in row else []
    words += [f"{word} {row[name]}" for name, word in _WORDS.items() if name in row]
    words += [f"nexthops {json.dumps(row['nexthops'])}"] if "nexthops" in row else []
    metrics = row.get("metrics", [])
    mtu = re.fullmatch(r'\[\{"mtu": (\d+)\}\]', json.dumps(metrics)) if metrics else None
    words += [f"metrics {json.dumps(metrics)}"] if metrics and mtu is None else []
    words += ["onlink"] if "onlink" in row.get("flags", ()) else []
    words += [f"mtu {mtu[1]}"] if mtu is not None else []
    return " ".join(words)


_WORDS = {"gateway": "via", "dev": "dev", "prefsrc": "src"}

_ON_DEVICE = " scope link"
"""In the listing of a route without a gateway, after the device: the restore script compares lines."""


def _batch_of(lines: t.Iterable[str]) -> list[str]:
    """Return the batch that creates the routes of a listing that was asked for those of this collection."""
    return [f"route replace {line} proto {ROUTE_PROTOCOL}" for line in lines]


_PROTOCOL = re.compile(r" proto \S+")
_UNICAST = re.compile(r"(?P<destination>default|[0-9a-f.:]+(?:/\d+)?) (?:via \S+ )?dev (?P<device>\S+)(?: |$)")
"""The beginning of the line of a route with one gateway or none."""


def _listed(key: str, spec: str) -> str:
    """Return the line by which ``ip`` lists a route."""
    if spec.startswith("dev "):
        device, _space, more = spec[len("dev ") :].partition(" ")
        spec = f"dev {device}{_ON_DEVICE}{f' {more}' if more else ''}"
    return _words(key, spec)


def _words(key: str, spec: str) -> str:
    if spec == BLACKHOLE:
        return f"{BLACKHOLE} {key}"
    # iproute2 prints JSON that it does not read; destination, metric and protocol are sufficient for a removal.
    return key if "{" in spec else f"{key} {spec}"
