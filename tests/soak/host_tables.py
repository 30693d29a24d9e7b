# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Print as JSON what a host has of the overlay. The soak runs this on a host, with its Python, which can be 3.9."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

DEVICE, PROTOCOL = "tke0", "144"


def listing(*command: str) -> Any:
    """Return the JSON that a command prints; nothing if it fails, as it does without the device."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []


def next_hop(route: dict[str, Any]) -> str:
    """Return where a route leads."""
    return str(route["gateway"]) if "gateway" in route else str(route.get("type", "unicast"))


def elements(rows: list[dict[str, Any]]) -> list[str]:
    """Return the elements of the set in a listing of nft."""
    found = [element for row in rows for element in row.get("set", {}).get("elem", [])]
    return [element if isinstance(element, str) else element["elem"]["val"] for element in found]


def main() -> None:
    """Print the tables."""
    links = listing("ip", "-json", "-details", "link", "show", "dev", DEVICE)
    routes = listing("ip", "-json", "route", "show", "table", "main", "proto", PROTOCOL)
    fdb = listing("bridge", "-json", "fdb", "show", "dev", DEVICE)
    neighbours = listing("ip", "-json", "neigh", "show", "dev", DEVICE, "nud", "permanent")
    rules = listing("nft", "-j", "list", "set", "inet", "tke_overlay", "peers4")
    active = ["systemctl", "is-active", "--quiet", "tke-overlay.timer"]
    found = {
        "mtu": [str(link["mtu"]) for link in links],
        "local": [link["linkinfo"]["info_data"]["local"] for link in links],
        "routes": [f"{route['dst']} {next_hop(route)}" for route in routes],
        "fdb": [f"{row['mac']} {row['dst']}" for row in fdb if "dst" in row],
        "neighbours": [f"{row['dst']} {row['lladdr']}" for row in neighbours],
        "peers": elements(rules["nftables"] if rules else []),
        "timer": ["active"] if subprocess.run(active, check=False).returncode == 0 else [],
        "unconfirmed": ["a change waits"] if os.path.isdir("/run/tke-overlay/pending") else [],
    }
    print(json.dumps(found))


main()
