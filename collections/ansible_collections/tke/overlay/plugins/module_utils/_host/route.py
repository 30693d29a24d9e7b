# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: routes of the main table: segment of a peer -> its VTEP address."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import ROUTE_PROTOCOL
from ansible_collections.tke.overlay.plugins.module_utils._host.tables import Present, Run, read_json

BLACKHOLE = "blackhole"

BLACKHOLE_METRIC = 4096
"""Behind the connected route (metric 0) of the Pod bridge, which takes over as soon as there is a bridge."""

_DEFAULT_METRIC = {4: 0, 6: 1024}
"""What the kernel gives a route of this IP version that asks for no metric."""

_SHOWN = ("via", "gateway", "dev", "src", "prefsrc", "mtu", "advmss")


class RouteTable:
    """The routes of one IP version (4 or 6) in the main table that are ours or meet our device.

    Ours are those of our own protocol number, whatever their device. The kernel
    knows a route by destination and metric, so both are the key.
    """

    name = "route"
    of_device = False

    def __init__(self, device: str, version: int = 4) -> None:
        self.device = device
        self.default_metric = _DEFAULT_METRIC[version]
        self.program = ("ip", f"-{version}")

    def read(self, run: Run) -> dict[str, Present]:
        """What is there, by destination and metric; routes of others too, as they can be in the way."""
        present = {}
        for row in read_json([*self.program, "-json", "route", "show", "table", "main"], run):
            metric = row.get("metric", 0)
            key = route_key(row["dst"], 0 if metric == self.default_metric else metric)
            protocol = str(row.get("protocol", ""))
            ours = protocol == str(ROUTE_PROTOCOL)
            spec = _spec_of(row)
            present[key] = Present(
                spec=spec if ours else f"{spec} proto {protocol}",
                ours=ours,
                here=row.get("dev") == self.device,
            )
        return present

    def put(self, key: str, spec: str) -> str:
        """Creates or changes the route to this destination with this metric."""
        blackhole = f"{BLACKHOLE} " if spec == BLACKHOLE else ""
        way = "" if blackhole else f" {spec}"
        return f"route replace {blackhole}{key}{way} proto {ROUTE_PROTOCOL}"

    def drop(self, key: str, spec: str) -> str:
        """Removes our route to this destination with this metric, wherever it points."""
        blackhole = f"{BLACKHOLE} " if spec == BLACKHOLE else ""
        return f"route del {blackhole}{key} proto {ROUTE_PROTOCOL}"


def route_key(destination: str, metric: int) -> str:
    """How the kernel tells routes apart: destination network, and metric where it is not the default."""
    return f"{destination} metric {metric}" if metric else destination


def via_entry(destination: str, gateway: str, device: str, metric: int = 0) -> tuple[str, str]:
    """Key and specification of a route by way of a VTEP address that no connected network has."""
    return route_key(destination, metric), f"via {gateway} dev {device} onlink"


def blackhole_entry(destination: str, metric: int = BLACKHOLE_METRIC) -> tuple[str, str]:
    """Key and specification of a route that drops: for addresses of the own segment that no Pod has."""
    return route_key(destination, metric), BLACKHOLE


def _spec_of(row: t.Mapping[str, t.Any]) -> str:
    if row.get("type") == BLACKHOLE:
        return BLACKHOLE
    words = [str(row["type"])] if row.get("type", "unicast") != "unicast" else []
    words += [f"{'via' if word == 'gateway' else word} {row[word]}" for word in _SHOWN if word in row]
    words += ["nexthops"] if "nexthops" in row else []
    words += ["onlink"] if "onlink" in row.get("flags", ()) else []
    return " ".join(words)
