# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""One host with 5,000 peers of all transports in equal parts: a call of the module compared with the bare programs."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text
from tests.bench import inlab, peers
from tests.bench.peers import DEVICE, HOST, PEERS, POOL
from tests.bench.report import Measure, Section
from tkelab import lab

ABOUT = "5,000 peers on links of all transports, on one host; needs the lab"

ROUNDS = 5
WIREGUARD_PORT = 51820
SITE = "own"
LINKS = {"vxlan": 1400, "direct": 1450, "wireguard": 1376}
"""Transport -> MTU. The peers of a transport are a site of that name."""
ON_LINK = "172.20.0.0/14"
"""The underlay addresses of the direct peers. The host has a route for them; they do not exist."""


def run() -> Section:
    """Measure on the host, and compare the figures of each round."""
    inlab.require_controller()
    inlab.on(HOST, "ip", "route", "replace", ON_LINK, "dev", "eth0")
    try:
        key = own_key()
        with tempfile.TemporaryDirectory(prefix="tke-overlay-bench-") as name:
            write_payloads(Path(name))
            rounds: list[dict[str, float]] = peers.measured(Path(name), document(key))["rounds"]
    finally:
        inlab.on(HOST, "sh", "-c", f"ip route del {ON_LINK} dev eth0; rm -rf /etc/tke-overlay")

    def ratio(name: str, *others: str) -> float:
        return statistics.median(each[name] / sum(each[other] for other in others) for each in rounds)

    seconds = ("fresh", "batches", "unchanged", "reading", "boot")
    return Section(
        [
            *(Measure(f"{name}", statistics.median(each[name] for each in rounds), "s") for name in seconds),
            Measure(
                "fresh / (batches + empty)", ratio("fresh", "batches", "empty"), digits=2, at_most=2.2, wanted=1.66
            ),
            Measure(
                "unchanged / (reading + empty)",
                ratio("unchanged", "reading", "empty"),
                digits=2,
                at_most=1.9,
                wanted=1.8,
            ),
            Measure("boot script / batches", ratio("boot", "batches"), digits=2),
        ],
        [
            f"{PEERS:,} peers, a third on each transport; {entries()} objects, and a peer of WireGuard for a third",
            f"median of {ROUNDS} rounds with all measurements in turns",
            "wanted: what 5,000 peers on VXLAN alone took before there were other transports",
            "batches: the saved batches, and wireguard-go with `wg setconf`; reading: with `wg show all dump`",
        ],
    )


def own_key() -> str:
    """Let the host make its private key; return the public one."""
    arguments = ("-m", "tke.overlay.wireguard_key")
    text = inlab.call(
        "ansible", "-i", str(inlab.INVENTORY), HOST, *arguments, env={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    )
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return str(found["public_key"])


def fleet(key: str) -> list[Peer]:
    """Return the peers and this host."""
    transports = list(LINKS)
    made = [peer(number, transports[number % len(transports)]) for number in range(PEERS)]
    own = str(lab.current().host(HOST).address)
    return [*made, Peer(HOST, POOL.node_cidr(PEERS), own, SITE, f"{own}:{WIREGUARD_PORT}", key)]


def peer(number: int, transport: str) -> Peer:
    """Return a peer of a transport, with an address and a key of its own."""
    second = 20 if transport == "direct" else 16
    address = f"172.{second}.{number >> 8}.{number & 255}"
    key = base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()
    return Peer(f"node{number:04}", POOL.node_cidr(number), address, transport, f"{address}:{WIREGUARD_PORT}", key)


def entries() -> dict[str, int]:
    """Return the number of entries in each table: a route below each of direct and WireGuard keeps packets in."""
    vxlan = len(range(0, PEERS, len(LINKS)))
    return {"route": vxlan + 2 * (PEERS - vxlan) + 1, "fdb": vxlan, "neighbor": vxlan}


def document(key: str) -> dict[str, Any]:
    """Return the node document, the argument of the module."""
    links = sorted((SITE, transport, transport, mtu) for transport, mtu in LINKS.items())
    return {
        **peers.document(),
        "mtu": max(LINKS.values()),
        "fleet": fleet_text(fleet(key)),
        "links": "".join(f"{one} {other} {transport} {mtu}\n" for one, other, transport, mtu in links),
        "wireguard_port": WIREGUARD_PORT,
        "wireguard_generation": 0,
    }


def write_payloads(directory: Path) -> None:
    """Write what the host needs besides the modules; it takes the batches from its own saved state."""
    setting = {
        "device": DEVICE,
        "node_cidr": POOL.node_cidr(PEERS),
        "peers": PEERS,
        "entries": entries(),
        "wireguard": "tke-wg0",
        "rounds": ROUNDS,
        "networkd_peers": 0,
    }
    (directory / "setting.json").write_text(json.dumps(setting))
    shutil.copy(peers.BENCH / "peers_on_host.py", directory)
