# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The demo: run the collection in the lab as a user does, and print the result.

Runs on the lab's controller: `make demo`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "collections"))

from ansible_collections.tke.overlay.plugins.module_utils._addressing import vtep_address, vtep_mac  # noqa: E402
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, parse  # noqa: E402

INVENTORY = REPO / "inventories" / "lab" / "hosts.yml"
STEPS = (
    ("Add every node to the overlay", "tke.overlay.site"),
    ("Start a substitute for the API server, and two Pods per node with real CNI plugins", "tests/lab/cluster.yml"),
    ("Send a small packet and one that fills the MTU from every Pod to every Pod", "tests/lab/matrix.yml"),
)

THIRD = "-i inventories/lab/hosts.yml -i inventories/lab_third_idc/hosts.yml"
NEXT = (
    "tests/lab/lab run ansible-playbook tke.overlay.verify",
    "tests/lab/lab run ansible-playbook tke.overlay.report",
    "tests/lab/lab exec idc1 -- ip route show proto 144",
    "tests/lab/lab run ansible-playbook tke.overlay.site --check --diff -e overlay_vni=7",
    f"tests/lab/lab {THIRD} up && tests/lab/lab run ansible-playbook {THIRD} tke.overlay.site --diff",
)


def main() -> int:
    """Run all steps, print the results and return the exit code: 0 when every Pod reaches every Pod."""
    begin, changed = time.monotonic(), 0
    for number, (what, playbook) in enumerate(STEPS, 1):
        print(f"\n=== {number}. {what}\n    $ ansible-playbook {playbook}", flush=True)
        code, count = run_playbook(playbook)
        if code:
            print(f"\nThe demo stops: {playbook} failed, see above.", file=sys.stderr)
            return code
        changed += count
    listing = json.loads(subprocess.run(["ansible-inventory", "--list"], **_in_repo(), check=True).stdout)
    variables = next(iter(listing["_meta"]["hostvars"].values()))
    ledger_file = Path(os.environ["TKE_LAB_STATE"]) / "overlay-ledger.json"
    ledger = parse(ledger_file.read_text(encoding="utf-8"), str(ledger_file), variables["overlay_cluster"])
    print_nodes(ledger, {name: site for site in ("cloud", "idc") for name in listing[site]["hosts"]})
    print_capacity(ledger)
    print_matrix(json.loads((ledger_file.parent / "pod-matrix.json").read_text(encoding="utf-8")))
    print(f"\n{changed or 'Nothing'} changed on the hosts, {time.monotonic() - begin:.0f} s. Next steps:\n")
    print("  " + "\n  ".join(NEXT))
    return 0


def _in_repo() -> dict[str, Any]:
    return {"cwd": REPO, "env": {**os.environ, "ANSIBLE_INVENTORY": str(INVENTORY)}, "stdout": subprocess.PIPE}


def run_playbook(playbook: str) -> tuple[int, int]:
    """Run a playbook, print its output, and return the exit code and the number of tasks that changed something."""
    changed = 0
    with subprocess.Popen(["ansible-playbook", playbook], **_in_repo(), text=True) as process:
        for line in process.stdout or ():
            print(f"    {line}".rstrip(), flush=True)
            changed += sum(map(int, re.findall(r"ok=\d+ +changed=(\d+)", line)))
    return process.returncode, changed


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}\n")
    for row in [head, *rows]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_nodes(ledger: Ledger, sites: dict[str, str]) -> None:
    """Print each node with its site and addresses."""
    rows = [
        (name, sites[name], held.underlay or "", held.node_cidr, vtep_address(held.node_cidr), vtep_mac(held.node_cidr))
        for name, held in sorted(ledger.nodes.items())
    ]
    print_table("Nodes", ("name", "site", "underlay", "node CIDR", "VTEP", "MAC"), rows)


def print_capacity(ledger: Ledger) -> None:
    """Print the capacity of the container CIDR."""
    capacity = ledger.capacity()
    print(
        f"\nCapacity\n\n  {', '.join(ledger.pool.cidrs)} holds {capacity['max_nodes']} nodes: {capacity['used']} used, "
        f"{capacity['free']} free; {capacity['usable_pods_per_node']} Pods on each;"
        f" Services in {ledger.pool.service_cidr} ({capacity['usable_services']} usable)"
    )


def print_matrix(pairs: Sequence[dict[str, Any]]) -> None:
    """Print the round-trip times in ms from the Pod of a row to the Pod of a column; an x marks a lost packet."""
    pods = sorted({pair["from"] for pair in pairs})
    cells = {
        (pair["from"], pair["to"]): f"{pair['rtt_ms']:.2f}" if pair["small"] and pair["full"] else "x" for pair in pairs
    }
    rows = [(f"{number} {pod}", *(cells[pod, other] for other in pods)) for number, pod in enumerate(pods, 1)]
    mtu = min(pair["mtu"] for pair in pairs)
    answered = sum(cell != "x" for cell in cells.values())
    print_table(
        f"Pod to Pod, round trip in ms; {answered} of {len(cells)} pairs answered, full packets ({mtu} bytes) too",
        ("from \\ to", *(str(number) for number, _pod in enumerate(pods, 1))),
        rows,
    )


if __name__ == "__main__":
    sys.exit(main())
