# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Functions for the checks of all scenarios: run a playbook as a user does, and read the network state of a host."""

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
    "find /etc/cni /etc/sysctl.d /etc/tmpfiles.d /etc/systemd/network /etc/systemd/networkd.conf.d "
    "/etc/systemd/system/tke-overlay.* -type f -exec sha256sum {} + 2>/dev/null | sort -k 2; "
    "ls /etc/tke-overlay 2>/dev/null; "
    "systemctl show --value -p UnitFileState -p ActiveState tke-overlay.service tke-overlay.timer"
)

SETTLED = "n=0; while ip -6 -o address show tentative | grep -q . && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done; "
"""Waits until duplicate address detection ends for the IPv6 addresses of new links: only then they get their routes."""

SELDOM = ("-e", "overlay_restore_interval=86400")
"""Keeps the timer from restoring what a test has broken, so that the test sees the changes of Ansible."""

QUICKLY = ("--timeout", "3", "-e", "ansible_control_path=none")
"""Detects a host that is cut off after 3 s: a new connection fails sooner than a kept one."""


@dataclasses.dataclass
class Play:
    """The exit code and the output of a run of ansible-playbook."""

    code: int
    text: str

    def recap(self) -> dict[str, dict[str, int]]:
        """Return the counters of each host."""
        rows = re.findall(r"^(\S+)\s+: (ok=\d+.*)$", self.text, re.MULTILINE)
        return {host: {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in rows}

    def changed(self) -> set[str]:
        """Return the hosts on which a task changed something."""
        return {host for host, counts in self.recap().items() if counts["changed"]}


def play(playbook: str, *arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> Play:
    """Run a playbook with the project's configuration, as the README describes."""
    return ended(begin(playbook, *arguments, inventories=inventories))


def at_once(*runs: Sequence[str]) -> list[Play]:
    """Run playbooks that change nothing, or not the same, as many at a time as there are processors; keep the order.

    Most of a short run is one process on the controller, so the other processors would be idle.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda words: play(*words), runs))


def ended(process: subprocess.Popen[str]) -> Play:
    """Wait for the end of a run that :func:`begin` has started."""
    text = process.communicate()[0]
    return Play(process.returncode, text)


def begin(playbook: str, *arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> subprocess.Popen[str]:
    """Start a playbook and do not wait for its end; it has its own process group, which a test can kill."""
    sources = [word for inventory in inventories for word in ("-i", str(inventory))]
    # Without the variables of Ansible, except the directory of SSH connections: labs with the same addresses must not
    # share it.
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
    """Return the text on one line, because Ansible wraps long messages, and ansible-core 2.18 doubles their quotes."""
    return " ".join(text.split()).replace("''", "'")


def site(*arguments: str, inventories: Sequence[pathlib.Path] = (INVENTORY,)) -> Play:
    """Run ``ansible-playbook tke.overlay.site``, which must succeed."""
    done = play("tke.overlay.site", *arguments, inventories=inventories)
    assert done.code == 0, done.text
    return done


def matrix(inventories: Sequence[pathlib.Path] = (INVENTORY,), names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the reachability of all Pods from all Pods, like tests/lab/matrix.yml but without SSH.

    :param names: the hosts; without it, all nodes of the inventories.
    """
    names = names or (NODES if inventories == (INVENTORY,) else nodes_of(inventories))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        lists = [json.loads(text) for text in pool.map(lambda name: on(name, "lab-pod list"), names)]
        assert all(lists), f"there is a host without Pods: {dict(zip(names, lists, strict=True))}"
        targets = {f"{name}/{pod}": to for name, pods in zip(names, lists, strict=True) for pod, to in pods.items()}
        probe = f"echo '{json.dumps(targets)}' | lab-pod probe"
        results = [json.loads(text) for text in pool.map(lambda name: on(name, probe), names)]
    return [
        {**pair, "from": f"{name}/{pair['from']}"} for name, pairs in zip(names, results, strict=True) for pair in pairs
    ]


def nodes_of(inventories: Sequence[pathlib.Path]) -> list[str]:
    """Return the nodes of an inventory, as Ansible reads it."""
    sources = [word for inventory in inventories for word in ("-i", str(inventory))]
    command = ["ansible", *sources, "overlay_nodes", "--list-hosts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()[2:]


def lab(*arguments: str) -> str:
    """Run a verb of the lab, which must succeed, and return its output."""
    command, environment = [str(LAB), *arguments], None
    if arguments[:1] == ("exec",):  # without the command line, because the tests call it hundreds of times
        _exec, name, dashes, *words = arguments
        assert dashes == "--"
        entry, environment = entrance(name)
        command = [*entry, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on(name: str, script: str) -> str:
    """Run a shell script on a host, which must succeed, and return its output. It does not need the host's network."""
    return lab("exec", name, "--", "sh", "-c", script)


MIRROR = ROOT / "tests/testinfra/mirror.sh"


def run_script(script: pathlib.Path, name: str, *arguments: str) -> None:
    """Run a script of the tests on a host, which must succeed."""
    command = [str(LAB), "exec", name, "--", "sh", "-s", "--", *arguments]
    done = subprocess.run(command, input=script.read_text(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def until(name: str, condition: str, seconds: float) -> None:
    """Wait until a shell condition is true on a host."""
    script = f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt {int(seconds * 10)} ] || exit 1; sleep 0.1; done"
    on(name, script)


def ledger() -> dict[str, Any]:
    """Return the document of the ledger."""
    document: dict[str, Any] = json.loads(LEDGER.read_text())
    return document


def state(name: str) -> set[str]:
    """Return the network configuration of a host, as a set of lines."""
    script = SETTLED + " && echo ---- && ".join((*LISTINGS, FILES, "cat /proc/sys/net/ipv4/ip_forward"))
    parts = lab("exec", name, "--", "sh", "-c", script).split("----\n")
    lines: set[str] = set()
    for command, part in zip(LISTINGS, parts, strict=False):
        rows = json.loads(part)
        rows = elements_apart(rows["nftables"]) if isinstance(rows, dict) else rows
        lines |= {f"{command}: {json.dumps(lasting(row), sort_keys=True)}" for row in rows if row and not learned(row)}
    return lines | set("".join(parts[len(LISTINGS) :]).splitlines())


def learned(row: Any) -> bool:
    """Return whether the Pod bridge has learned this entry from a packet; such an entry expires after 300 s.

    Its state is empty, and "stale" after a while without packets.
    """
    return "mac" in row and "master" in row and row.get("state") in (None, "", "stale")


def elements_apart(rows: list[Any]) -> list[Any]:
    """Return the rows of nft with each element of a set as a separate row."""
    parts: list[Any] = []
    for row in rows:
        elements = row.get("set", {}).get("elem", [])
        parts += [{"set": {**row["set"], "elem": []}}, *({"elem": each} for each in elements)] if elements else [row]
    return parts


def lasting(row: Any) -> Any:
    """Return a row without values that change by themselves: timers, lifetimes of addresses and counters.

    The entries that a bridge has learned, which it counts, expire after 300 s.
    """
    if isinstance(row, dict):
        passing = ("_timer", "_life_time", "handle", "packets", "bytes", "fdb_n_learned")
        return {key: lasting(value) for key, value in row.items() if not key.endswith(passing)}
    if isinstance(row, list):
        return [lasting(item) for item in row]
    return row


NODES = ("cloud1", "cloud2", "idc1", "idc2")
PAIR = ("clb1", "clb2")
OTHERS = (*PAIR, "api1", "api2")


def states(names: Sequence[str] = NODES + OTHERS) -> dict[str, set[str]]:
    """Return the state of several hosts, by name."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(state, names), strict=True))


def reloads_needed(names: Sequence[str] = NODES + PAIR) -> dict[str, str]:
    """Return host and unit -> whether systemd reports that the unit needs a reload, for all units of the collection."""
    units = "$(systemctl list-unit-files --no-legend 'tke-overlay*' | cut -d ' ' -f 1)"
    script = f"systemctl show -p Id -p NeedDaemonReload {units}"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        texts = dict(zip(names, pool.map(lambda name: on(name, script), names), strict=True))
    blocks = [(name, block) for name, text in texts.items() for block in text.strip().split("\n\n")]
    values = [(name, dict(line.split("=") for line in block.splitlines())) for name, block in blocks]
    return {f"{name} {found['Id']}": found["NeedDaemonReload"] for name, found in values}
