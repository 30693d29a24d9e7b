# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""One host with 5,000 peers: a call of the module compared with iproute2 alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    Peer,
    fleet_text,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import RulesSpec, rules_text
from tests.bench import inlab
from tests.bench.report import Measure, Section
from tkelab import lab

ABOUT = "5,000 peers on one host in one call of tke.overlay.node; needs the lab"

HOST = "api1"  # a host of the lab that is not a node
PEERS = 5_000
ENTRIES = 3 * PEERS + 1
ROUNDS = 9
PROBE_SECONDS = 60  # between two rounds, the default
NETWORKD_PEERS = 1_000  # systemd-networkd 252 rejects a file with more than 1,024 FDB entries: "Out of memory"
REMOTE = "/var/tmp/tke-overlay-bench"
BENCH = Path(__file__).resolve().parent

# Does not overlap the lab's networks.
POOL = Pool(["10.64.0.0/11"], pods_per_node=256, services=256)
DEVICE, VNI, PORT, MTU = "tke0", 1, 8472, 1400


def run() -> Section:
    """Measure on the host, and compare the figures of each round."""
    inlab.require_controller()
    with payloads() as directory:
        figures = measured(directory, document())
    rounds: list[dict[str, float]] = figures["rounds"]

    def middle(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    def ratio(name: str, *others: str) -> float:
        return statistics.median(each[name] / sum(each[other] for other in others) for each in rounds)

    return Section(
        [
            Measure("first run: module and confirmation", middle("fresh"), "s"),
            Measure("first run: ip and bridge -batch, nft -f", middle("batches"), "s"),
            Measure("empty module", middle("empty"), "s"),
            Measure(
                "first run: module / (batches + empty)",
                ratio("fresh", "batches", "empty"),
                digits=2,
                at_most=2.0,
                wanted=1.2,
            ),
            Measure("unchanged: module", middle("unchanged"), "s"),
            Measure("unchanged: reading once", middle("reading"), "s"),
            Measure(
                "unchanged: module / (reading + empty)",
                ratio("unchanged", "reading", "empty"),
                digits=2,
                at_most=2.0,
                wanted=1.3,
            ),
            Measure("boot: the restore script", middle("boot"), "s"),
            Measure("boot: script / batches", ratio("boot", "batches"), digits=2, at_most=1.2, wanted=1.05),
            Measure("restore script, nothing to restore", middle("period"), "s"),
            Measure(
                "restore script: with metrics / without",
                ratio("with_metrics", "without_metrics"),
                digits=2,
                at_most=1.1,
            ),
            Measure("probe timer: CPU of a round", 1000 * middle("probe_cpu"), "ms", 0),
            Measure("probe timer: share of a core", 100 * middle("probe_cpu") / PROBE_SECONDS, "%", 3, at_most=0.1),
            Measure("peak memory, first run", middle("fresh_memory"), "MB", 0, at_most=120),
            Measure("peak memory, unchanged", middle("unchanged_memory"), "MB", 0, at_most=120),
            Measure("peak memory, empty module", middle("empty_memory"), "MB", 0),
            Measure("one process per entry (extrapolated)", figures["per_entry"] * ENTRIES, "s", 1),
            Measure(f"systemd-networkd from templates, {NETWORKD_PEERS:,} peers", figures["networkd"], "s"),
            Measure(f"ip and bridge -batch, {NETWORKD_PEERS:,} peers", figures["few_batches"], "s"),
        ],
        notes_of(figures),
    )


def notes_of(figures: dict[str, Any]) -> list[str]:
    """Return the notes on how the figures were measured."""
    per_entry, timed = figures["per_entry"], figures["timed"]
    return [
        f"{PEERS:,} peers are {ENTRIES:,} kernel objects; in every round, module and batches create the same",
        f"on {HOST} itself, real kernel: monotonic clock around /usr/bin/python3 with the file that Ansible sends",
        f"median of {len(figures['rounds'])} rounds with all measurements in turns; ratios are computed per round",
        "batches: the same link, entries and rules from files, one process per table and one for the link",
        "boot: /etc/tke-overlay/restore with an empty kernel; nothing to restore: the same with all entries",
        "reading: links, routes, FDB, neighbours, rules into a file; memory: ru_maxrss of the largest process",
        f"one process per entry: a shell script took {per_entry * 1e3:.2f} ms each for {timed} entries",
        "metrics: six runs of each in turns; probe: no peer answers, so a round sends 3 small packets to each of 48",
        "systemd-networkd: from its start until all entries exist, without rules; 252 accepts 1,024 FDB entries",
    ]


def fleet() -> list[Peer]:
    """Return the peers and this host. The underlay addresses of the peers do not exist, and nothing is sent there."""
    peers = [
        Peer(f"node{number:04}", POOL.node_cidr(number), f"172.16.{number >> 8}.{number & 255}")
        for number in range(PEERS)
    ]
    return [*peers, Peer(HOST, POOL.node_cidr(PEERS), str(lab.current().host(HOST).address))]


@contextlib.contextmanager
def payloads() -> Iterator[Path]:
    """Yield a directory with the files that the host needs besides the modules: the batches and the settings."""
    *peers, own = fleet()
    texts = {
        **batches(own, peers),
        "rules.nft": rules_text(
            RulesSpec(DEVICE, "tke-br0", PORT, MTU, own.node_cidr, POOL.cidrs, [peer.underlay for peer in peers])
        ).splitlines(),
        "setting.json": [
            json.dumps(
                {
                    "device": DEVICE,
                    "node_cidr": own.node_cidr,
                    "peers": PEERS,
                    "entries": {"route": PEERS + 1, "fdb": PEERS, "neighbor": PEERS},
                    "wireguard": "",
                    "rounds": ROUNDS,
                    "networkd_peers": NETWORKD_PEERS,
                }
            )
        ],
        **networkd_files(own, peers[:NETWORKD_PEERS]),
    }
    with tempfile.TemporaryDirectory(prefix="tke-overlay-bench-") as name:
        for file, lines in texts.items():
            (Path(name) / file).write_text("".join(f"{line}\n" for line in lines))
        shutil.copy(BENCH / "peers_on_host.py", name)
        yield Path(name)


def batches(own: Peer, peers: Sequence[Peer]) -> dict[str, list[str]]:
    """Return the link and the entries of all peers as batch files for ip and bridge."""
    tunnel = f"type vxlan id {VNI} dstport {PORT} local {own.underlay} nolearning"
    return {
        "link.batch": [
            f"link add {DEVICE} address {vtep_mac(own.node_cidr)} mtu {MTU} {tunnel}",
            f"link set {DEVICE} addrgenmode none",
            f"link set {DEVICE} up",
            f"address replace {vtep_address(own.node_cidr)}/32 dev {DEVICE}",
        ],
        "neighbor.batch": [
            f"neigh replace {vtep_address(peer.node_cidr)} lladdr {vtep_mac(peer.node_cidr)} dev {DEVICE} nud permanent"
            for peer in peers
        ],
        "fdb.batch": [
            f"fdb replace {vtep_mac(peer.node_cidr)} dev {DEVICE} dst {peer.underlay} self permanent" for peer in peers
        ],
        "route.batch": [
            *(
                f"route replace {peer.node_cidr} via {vtep_address(peer.node_cidr)} dev {DEVICE} onlink proto 144"
                for peer in peers
            ),
            f"route replace blackhole {own.node_cidr} metric 4096 proto 144",
        ],
    }


def networkd_files(own: Peer, peers: Sequence[Peer]) -> dict[str, list[str]]:
    """Return the same link and entries as files of systemd-networkd."""
    netdev = [
        *("[NetDev]", f"Name={DEVICE}", "Kind=vxlan", f"MACAddress={vtep_mac(own.node_cidr)}", f"MTUBytes={MTU}"),
        *("[VXLAN]", f"VNI={VNI}", f"DestinationPort={PORT}", f"Local={own.underlay}", "MacLearning=no"),
        "Independent=yes",
    ]
    network = [
        *("[Match]", f"Name={DEVICE}", "[Network]", f"Address={vtep_address(own.node_cidr)}/32"),
        *("LinkLocalAddressing=no", "ConfigureWithoutCarrier=yes"),
    ]
    for peer in peers:
        address, mac = vtep_address(peer.node_cidr), vtep_mac(peer.node_cidr)
        network += ["[Neighbor]", f"Address={address}", f"LinkLayerAddress={mac}"]
        network += ["[BridgeFDB]", f"MACAddress={mac}", f"Destination={peer.underlay}", "AssociatedWith=self"]
        network += [
            "[Route]",
            f"Destination={peer.node_cidr}",
            f"Gateway={address}",
            "GatewayOnLink=yes",
            "Protocol=144",
        ]
    return {"tke0.netdev": netdev, "tke0.network": network}


def document() -> dict[str, Any]:
    """Return the node document, the argument of the module."""
    return {
        "schema": PLAN_SCHEMA,
        "cluster": "bench",
        "device": DEVICE,
        "vni": VNI,
        "port": PORT,
        "mtu": MTU,
        "bridge": "tke-br0",
        "container_cidr": POOL.cidrs,
        "service_cidr": POOL.service_cidr,
        "fleet": fleet_text(fleet()),
    }


def measured(directory: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """Copy the files to the host, measure there, restore the host, and return the figures."""
    there = ("/usr/bin/python3", f"{REMOTE}/peers_on_host.py", REMOTE)
    inlab.over_ssh(HOST, f"rm -rf {REMOTE} && mkdir -p {REMOTE}")
    inlab.copy(directory, HOST, REMOTE)
    inlab.over_ssh(HOST, *there, "note")
    try:
        send_modules(directory, plan)
        figures: dict[str, Any] = json.loads(inlab.over_ssh(HOST, *there, "measure", seconds=600))
    finally:
        inlab.over_ssh(HOST, *there, "restore")
        inlab.over_ssh(HOST, f"rm -rf {REMOTE}")
    return figures


def send_modules(directory: Path, plan: dict[str, Any]) -> None:
    """Let Ansible run both modules once, and keep the files that it sends to the host."""
    variables = directory / "variables.json"
    variables.write_text(json.dumps({"bench_document": plan}))
    arguments = json.dumps({"name": HOST, "document": "{{ bench_document }}"})
    inlab.over_ssh(HOST, f"mkdir -p {REMOTE}/metrics")
    with_metrics = json.dumps({**json.loads(arguments), "metrics_dir": f"{REMOTE}/metrics"})
    for name, file, words in (
        ("tke.overlay.node", "node", ("-a", arguments, "-e", f"@{variables}")),
        ("tke.overlay.node", "metrics", ("-a", with_metrics, "-e", f"@{variables}")),
        ("empty", "empty", ()),
    ):
        kept = f"{REMOTE}/kept-{file}"
        env = {
            "ANSIBLE_KEEP_REMOTE_FILES": "1",
            "ANSIBLE_PIPELINING": "0",  # pipelining sends no file
            "ANSIBLE_REMOTE_TMP": kept,
            "ANSIBLE_LIBRARY": str(BENCH / "library"),
        }
        inlab.call("ansible", "-i", str(inlab.INVENTORY), HOST, "-m", name, *words, env=env)
        inlab.over_ssh(HOST, f"mv {kept}/*/AnsiballZ_*.py {REMOTE}/{file}.py")
