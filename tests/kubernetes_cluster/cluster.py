#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Run a real Kubernetes cluster on the lab, and count requests on its paths.

The programs come from a directory (`make kubernetes KUBERNETES_BIN=DIR`, see docs/testing.md). The lab must run with
inventories/lab_kubernetes. Prints a table with sent and lost requests, and writes it as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from kubelab import bootstrap, images, rows
from kubelab.bootstrap import Settings
from kubelab.hosts import CONTROL, LAB_STATE, ROOT, StepError, each, inventory, kubectl, play, send
from kubelab.traffic import Row
from tkelab import base

NEEDED = (
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubeadm", "kubectl",
)  # fmt: skip


def missing(programs: str) -> str:
    """Return what is wrong with the directory of programs, in one sentence; empty if it is complete."""
    absent = [name for name in NEEDED if not programs or not os.access(Path(programs, name), os.X_OK)]
    if not absent:
        return ""
    return (
        "make kubernetes KUBERNETES_BIN=DIR wants the absolute path of a directory with the programs"
        f" {', '.join(NEEDED)}; {programs or 'KUBERNETES_BIN'} "
        + (f"lacks {', '.join(absent)}." if programs else "is not set.")
    )


def settings_of(programs: Path) -> Settings:
    """Return the settings, from the inventory and the ledger."""
    listing = inventory()
    variables = listing["_meta"]["hostvars"]
    common = variables[CONTROL]
    pods = ipaddress.ip_network(common["overlay_container_cidr"])
    service_length = 32 - (int(common["overlay_max_services"]) - 1).bit_length()
    services = list(pods.subnets(new_prefix=service_length))[-1]
    version = subprocess.run(
        [programs / "kubeadm", "version", "-o", "short"], capture_output=True, text=True, check=True
    )
    ledger = json.loads((LAB_STATE / "overlay-ledger.json").read_text())
    names = [name for name, values in variables.items() if values.get("lab_kubernetes")]
    return Settings(
        version.stdout.strip(), common["overlay_api_name"], str(services),
        ledger["vips"]["apiserver"], {name: variables[name]["ansible_host"] for name in sorted(names)},
    )  # fmt: skip


def step(text: str, began: float) -> None:
    """Print what begins now."""
    print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)


def build(programs: Path, began: float) -> tuple[Settings, Path]:
    """Make the cluster: overlay and pair, API server, endpoint, the other nodes."""
    step("overlay and load balancer: tke.overlay.site", began)
    play("tke.overlay.site")
    settings = settings_of(programs)
    step(f"images of {settings.version}", began)
    nodes, control = images.make(
        programs, base.path("bookworm+kubernetes"), ROOT / ".cache/kubernetes", settings.version
    )
    step("containerd on all nodes", began)
    each(lambda name: bootstrap.prepare(name, nodes), settings.addresses)
    step("etcd, and kubeadm init on api1", began)
    bootstrap.start_etcd(settings.addresses[CONTROL])
    bootstrap.init(settings, control)
    step("endpoint on all nodes: tke.overlay.site", began)
    play("tke.overlay.site", "-e", f"overlay_api_ca={bootstrap.CA}")
    bootstrap.remove_first_name(settings)
    step("kubeadm join", began)
    bootstrap.copy_certificates("api2")
    send("api2", control, "ctr -n k8s.io images import -")
    bootstrap.configure(settings, "-e", f"overlay_api_ca={bootstrap.CA}")  # with the hash of the CA
    bootstrap.join("api2")
    each(bootstrap.join, [name for name in settings.addresses if not name.startswith("api")])
    seconds = bootstrap.await_ready([*settings.addresses])
    step(f"all nodes Ready, {seconds:.0f} s after the last join", began)
    print(kubectl("get nodes -o wide"), flush=True)
    return settings, nodes


def report(table: list[Row], target: Path) -> None:
    """Print the table, and write it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps([dataclasses.asdict(row) for row in table], indent=2) + "\n")
    width = max(len(row.name) for row in table)
    print(f"\n{'TEST':{width}}  {'SENT':>6}  {'LOST':>5}  {'LONGEST GAP':>11}  NOTE")
    for row in table:
        lost = "error" if row.failed else row.lost
        print(f"{row.name:{width}}  {row.sent:6}  {lost:>5}  {row.gap:9.2f} s  {row.note[:160]}")


def main() -> int:
    """Make the cluster and run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="?", default="", help="the directory of the programs")
    parser.add_argument("--check", action="store_true", help="only check the directory")
    parser.add_argument(
        "--json", type=Path, default=ROOT / ".cache/kubernetes/result.json", help="the file for the table"
    )
    parser.add_argument("--keep", action="store_true", help="the cluster is there already: only run the tests")
    parser.add_argument("--only", action="append", default=[], help="the name of a test; can be repeated")
    options = parser.parse_args()
    if text := missing(options.programs):
        print(text, file=sys.stderr)
        return 2
    if options.check:
        return 0
    began = time.monotonic()
    programs = Path(options.programs).resolve()
    table: list[Row] = []
    try:
        if options.keep:
            settings, node_images = settings_of(programs), ROOT / ".cache/kubernetes/node.oci.tar"
        else:
            settings, node_images = build(programs, began)
            step("Pods and Services of the test", began)
            rows.deploy(settings)
    except StepError as error:
        print(error, file=sys.stderr)
        return 1
    for name, test in tests(node_images).items():
        if options.only and name not in options.only:
            continue
        step(name, began)
        try:
            table += test(settings)
        except (StepError, subprocess.SubprocessError, OSError, KeyError) as error:
            table.append(Row(name, note=f"{type(error).__name__}: {error}"[-400:].replace("\n", " "), failed=True))
        report(table, options.json)
    return int(any(row.failed for row in table))


def tests(node_images: Path) -> dict[str, Callable[[Settings], list[Row]]]:
    """Return the tests in their order."""

    def with_nftables(settings: Settings) -> list[Row]:
        rows.proxy_mode("nftables")
        found = [*rows.paths(settings), *rows.webhook(settings)]
        for row in found:
            row.name = f"nftables: {row.name}"
        rows.proxy_mode("iptables")
        return found

    return {
        "nodes": rows.nodes,
        "paths": rows.paths,
        "record": rows.record,
        "api": rows.api_from_pods,
        "kubelets": rows.kubelets,
        "webhook": rows.webhook,
        "undisturbed": rows.undisturbed,
        "restarts": rows.restarts,
        "outages": rows.outages,
        "port": rows.port_change,
        "node": lambda settings: rows.add_and_release(settings, node_images),
        "nftables": with_nftables,
    }


if __name__ == "__main__":
    sys.exit(main())
