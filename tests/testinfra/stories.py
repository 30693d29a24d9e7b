# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the scenarios' checks share: running a play as a user would, and seeing all of a host's network at once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from tkelab.lab import entrance

ROOT = pathlib.Path(__file__).parents[2]
INVENTORY = ROOT / "inventories/lab/hosts.yml"
LAB_STATE = pathlib.Path(os.environ["TKE_LAB_STATE"])  # set by `lab run`
LEDGER = LAB_STATE / "overlay-ledger.json"
SSH_CONFIG = LAB_STATE / "ssh/config"
SOCKETS = pathlib.Path(os.environ["ANSIBLE_SSH_CONTROL_PATH_DIR"])  # so is this
LAB = ROOT / "tests/lab/lab"

LISTINGS = (
    "ip -json -details address show",
    "ip -json route show table all",
    "ip -json neigh show nud permanent",
    "bridge -json fdb show",
    "ip -json rule show",
    "nft -j list ruleset",
)
FILES = (
    "find /etc/cni /etc/sysctl.d /etc/systemd/network /etc/systemd/networkd.conf.d /etc/systemd/system/tke-overlay.* "
    "-type f -exec sha256sum {} + 2>/dev/null | sort -k 2; ls /etc/tke-overlay 2>/dev/null; "
    "for unit in service timer; do systemctl is-enabled tke-overlay.$unit 2>/dev/null; "
    "systemctl is-active tke-overlay.$unit; done; true"
)

SETTLED = "n=0; while ip -6 -o address show tentative | grep -q . && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done; "
"""Until the kernel knows that nobody else has the IPv6 addresses of new links: then they get their routes."""

SELDOM = ("-e", "overlay_restore_interval=86400")
"""So that no timer mends what a test has broken while it looks at what Ansible does about it."""

QUICKLY = ("--timeout", "3", "-e", "ansible_control_path=none")
"""Who is cut off is noticed by a new connection sooner than by one that was kept."""


@dataclasses.dataclass
class Play:
    """What a run of ansible-playbook did."""

    code: int
    text: str

    def recap(self) -> dict[str, dict[str, int]]:
        """Host -> its counters."""
        rows = re.findall(r"^(\S+)\s+: (ok=\d+.*)$", self.text, re.MULTILINE)
        return {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}

    def changed(self) -> set[str]:
        """The hosts on which something was changed."""
        return {host for host, counts in self.recap().items() if counts["changed"]}


def play(playbook: str, *arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> Play:
    """Runs a playbook with the project's own configuration, as the README says it is run."""
    return ended(begin(playbook, *arguments, inventories=inventories))


def ended(process: subprocess.Popen[str]) -> Play:
    """Waits for the end of what :func:`begin` has begun."""
    text = process.communicate()[0]
    return Play(process.returncode, text)


def begin(playbook: str, *arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> subprocess.Popen[str]:
    """The same, and does not wait for its end; in a process group of its own, so that it can be killed as a whole."""
    sources = [word for inventory in inventories for word in ("-i", str(inventory))]
    # All of Ansible's but where SSH keeps its connections: two labs have the same addresses, and must not share them.
    kept = "ANSIBLE_SSH_CONTROL_PATH_DIR"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    environment.update({key: value for key, value in os.environ.items() if key == kept})
    return subprocess.Popen(
        ["ansible-playbook", *sources, playbook, *SELDOM, *arguments],
        cwd=ROOT,
        env={**environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def joined(text: str) -> str:
    """The text on one line, as Ansible breaks long messages into several."""
    return " ".join(text.split())


def site(*arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> Play:
    """``ansible-playbook tke.overlay.site``, which must succeed."""
    done = play("tke.overlay.site", *arguments, inventories=inventories)
    assert done.code == 0, done.text
    return done


def matrix(inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> list[dict[str, Any]]:
    """The reachability of all Pods from all Pods, asked now: as tests/lab/matrix.yml does, without its SSH."""
    names = NODES if inventories == (INVENTORY,) else nodes_of(inventories)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        lists = [json.loads(text) for text in pool.map(lambda name: on(name, "lab-pod list"), names)]
        assert all(lists), f"nobody would be asked: {dict(zip(names, lists, strict=True))}"
        targets = {f"{name}/{pod}": to for name, pods in zip(names, lists, strict=True) for pod, to in pods.items()}
        ask = f"echo '{json.dumps(targets)}' | lab-pod probe"
        answers = [json.loads(text) for text in pool.map(lambda name: on(name, ask), names)]
    return [
        {**pair, "from": f"{name}/{pair['from']}"} for name, pairs in zip(names, answers, strict=True) for pair in pairs
    ]


def nodes_of(inventories: Sequence[pathlib.Path]) -> list[str]:
    """The nodes of an inventory, as Ansible reads it."""
    sources = [word for inventory in inventories for word in ("-i", str(inventory))]
    command = ["ansible", *sources, "overlay_nodes", "--list-hosts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()[2:]


def lab(*arguments: str) -> str:
    """A verb of the lab, which must succeed."""
    command, environment = [str(LAB), *arguments], None
    if arguments[:1] == ("exec",):  # hundreds of times: not by way of the command line
        _exec, name, dashes, *words = arguments
        assert dashes == "--"
        entry, environment = entrance(name)
        command = [*entry, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on(name: str, script: str) -> str:
    """What a shell script on a host prints, whatever its network; it must succeed."""
    return lab("exec", name, "--", "sh", "-c", script)


MIRROR = ROOT / "tests/testinfra/mirror.sh"


def run_script(script: pathlib.Path, name: str, *arguments: str) -> None:
    """Runs a script of the tests on a host; it must succeed."""
    command = [str(LAB), "exec", name, "--", "sh", "-s", "--", *arguments]
    done = subprocess.run(command, input=script.read_text(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def until(name: str, condition: str, seconds: float) -> None:
    """Waits until a shell condition is true on a host."""
    patience = f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt {int(seconds * 10)} ] || exit 1; sleep 0.1; done"
    on(name, patience)


def ledger() -> dict[str, Any]:
    """The ledger as it is."""
    document: dict[str, Any] = json.loads(LEDGER.read_text())
    return document


def state(name: str) -> set[str]:
    """All of a host's network configuration, as a set of lines."""
    script = SETTLED + " && echo ---- && ".join((*LISTINGS, FILES, "cat /proc/sys/net/ipv4/ip_forward"))
    parts = lab("exec", name, "--", "sh", "-c", script).split("----\n")
    lines: set[str] = set()
    for command, part in zip(LISTINGS, parts, strict=False):
        rows = json.loads(part)
        rows = elements_apart(rows["nftables"]) if isinstance(rows, dict) else rows
        lines |= {f"{command}: {json.dumps(lasting(row), sort_keys=True)}" for row in rows if row and not learned(row)}
    return lines | set("".join(parts[len(LISTINGS) :]).splitlines())


def learned(row: Any) -> bool:
    """Whether the Pod bridge has learned this entry from a packet of a Pod: it forgets it again after 300 s."""
    return "mac" in row and "master" in row and not row.get("state")


def elements_apart(rows: list[Any]) -> list[Any]:
    """The rows of nft, a set's elements as rows of their own."""
    parts: list[Any] = []
    for row in rows:
        elements = row.get("set", {}).get("elem", [])
        parts += [{"set": {**row["set"], "elem": []}}, *({"elem": each} for each in elements)] if elements else [row]
    return parts


def lasting(row: Any) -> Any:
    """A row without what runs by itself: a bridge's timers, how long an address is valid, what nft counts."""
    if isinstance(row, dict):
        passing = ("_timer", "_life_time", "handle", "packets", "bytes")
        return {key: lasting(value) for key, value in row.items() if not key.endswith(passing)}
    if isinstance(row, list):
        return [lasting(item) for item in row]
    return row


NODES = ("cloud1", "cloud2", "idc1", "idc2")
PAIR = ("clb1", "clb2")
OTHERS = (*PAIR, "api1", "api2")


def states(names: Sequence[str] = NODES + OTHERS) -> dict[str, set[str]]:
    """The state of several hosts, by name."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(state, names), strict=True))
