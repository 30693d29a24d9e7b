#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Run real Kubernetes clusters on the lab, and count requests on their paths.

The programs come from a directory (`make kubernetes KUBERNETES_BIN=DIR`, see docs/testing.md). Each part (a cluster
from the collection's configuration, one with flannel that moves to the overlay, one by the guide) begins with a new
lab. Prints a table with sent and lost requests, and writes it as JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import ipaddress
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "testinfra"))

from kubelab import bootstrap, images, members, rows
from kubelab.adoption import adopt
from kubelab.bootstrap import Settings
from kubelab.guide import guide as follow_guide
from kubelab.hosts import CONTROL, LAB, LAB_STATE, ROOT, StepError, each, inventory, kubectl, play, send
from kubelab.traffic import Row
from tkelab import base

NEEDED = (
    "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubeadm", "kubectl",
    "coredns",
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
    ledger = json.loads((LAB_STATE / "overlay-ledger.json").read_text())
    names = [name for name, values in variables.items() if values.get("lab_kubernetes")]
    return Settings(
        version_of(programs), common["overlay_api_name"], str(services),
        ledger["vips"]["apiserver"], {name: variables[name]["ansible_host"] for name in sorted(names)},
    )  # fmt: skip


def version_of(programs: Path) -> str:
    """Return the version of the programs."""
    command = [str(programs / "kubeadm"), "version", "-o", "short"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def step(text: str, began: float) -> None:
    """Print what begins now."""
    print(f"[{time.monotonic() - began:5.0f} s] {text}", flush=True)


def make_images(programs: Path, began: float) -> tuple[Path, Path]:
    """Make the images of nodes and of API servers."""
    version = version_of(programs)
    step(f"images of {version}", began)
    trees = (base.path("bookworm+kubernetes"), base.path("trixie+kubernetes"))
    return images.make(programs, trees, ROOT / ".cache/kubernetes", version)


def build(programs: Path, began: float) -> tuple[Settings, Path]:
    """Make the cluster: overlay and pair, API server, endpoint, the other nodes."""
    step("overlay and load balancer: tke.overlay.site", began)
    play("tke.overlay.site")
    settings = settings_of(programs)
    nodes, control = make_images(programs, began)
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
    width = max((len(row.name) for row in table), default=4)
    print(f"\n{'TEST':{width}}  {'SENT':>6}  {'LOST':>5}  {'LONGEST GAP':>11}  NOTE")
    for row in table:
        lost = "error" if row.failed else row.lost
        print(f"{row.name:{width}}  {row.sent:6}  {lost:>5}  {row.gap:9.2f} s  {row.note[:160]}")


def result_of(part: str) -> Path:
    """Return the file with the table of a part."""
    return ROOT / f".cache/kubernetes/{part}.json"


Test = Callable[[], Iterable[Row]]


def run(tests: dict[str, Test], only: list[str], part: str, began: float) -> int:
    """Run tests, print and write their table, and return the exit code: 1 if a line of the table did not pass."""
    table: list[Row] = []
    for name, test in tests.items():
        if only and name not in only:
            continue
        step(name, began)
        try:
            table.extend(test())  # lines before an error stay
        except (StepError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
            print(error, file=sys.stderr, flush=True)
            table.append(Row(name, note=f"{type(error).__name__}: {error}"[-400:].replace("\n", " "), failed=True))
        report(table, result_of(part))
    return int(not all(row.passed for row in table))


# --- the parts, each in a lab of its own ----------------------------------------------------------


def cluster(programs: Path, only: list[str], keep: bool) -> int:
    """Make the cluster, and run its tests.

    :param keep: the cluster is there already.
    """
    began = time.monotonic()
    try:
        if keep:
            settings, node_images = settings_of(programs), ROOT / ".cache/kubernetes/node.oci.tar"
        else:
            settings, node_images = build(programs, began)
            step("Pods and Services of the test", began)
            rows.deploy(settings)
    except StepError as error:
        print(error, file=sys.stderr)
        return 1
    return run(tests_of_cluster(settings, node_images), only, CLUSTER, began)


def tests_of_cluster(settings: Settings, node_images: Path) -> dict[str, Test]:
    """Return the tests of the cluster in their order."""

    def with_nftables() -> list[Row]:
        rows.proxy_mode("nftables")
        found = [*rows.paths(settings), *rows.webhook(settings)]
        for row in found:
            row.name = f"nftables: {row.name}"
        rows.proxy_mode("iptables")
        return found

    simple = {
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
    }
    return {
        **{name: functools.partial(test, settings) for name, test in simple.items()},
        "node": lambda: rows.add_and_release(settings, node_images),
        "nftables": with_nftables,
        "conformance": lambda: members.conformance(settings, "with kube-proxy and DNS"),
        "members": lambda: members.members(settings),
    }


def adoption(programs: Path, _only: list[str], _keep: bool) -> int:
    """Make a cluster with flannel, and move it to the overlay."""
    began = time.monotonic()
    listing = inventory()["_meta"]["hostvars"]
    addresses = {name: values["ansible_host"] for name, values in listing.items() if values.get("lab_kubernetes")}
    made = make_images(programs, began)
    settings = Settings(version_of(programs), listing[CONTROL]["overlay_api_name"], "10.96.0.0/12", "", addresses)
    return run({ADOPTION: lambda: adopt(settings, made)}, [], ADOPTION, began)


def guide(programs: Path, _only: list[str], _keep: bool) -> int:
    """Follow the guide about Kubernetes, with its own inventory."""
    began = time.monotonic()
    made = make_images(programs, began)
    return run({GUIDE: lambda: follow_guide(made)}, [], GUIDE, began)


CLUSTER, ADOPTION, GUIDE = "cluster", "adoption", "guide"
INVENTORIES_OF = {
    CLUSTER: ("lab/hosts.yml", "lab_kubernetes/hosts.yml", "lab_kubernetes/added.yml"),
    ADOPTION: ("lab/hosts.yml", "lab_kubernetes/hosts.yml", "lab_kubernetes/added.yml", "lab_flannel/hosts.yml"),
    GUIDE: ("lab/hosts.yml", "lab_kubernetes/hosts.yml"),
}
PARTS = {GUIDE: guide, ADOPTION: adoption, CLUSTER: cluster}


def run_parts(programs: str, only: list[str]) -> int:
    """Run each part that is wanted in a new lab, and print one table of all. The lab of a failed part stays."""
    wanted = [part for part in PARTS if not only or part in only]
    if set(only) - set(PARTS):
        wanted = [*(part for part in wanted if part != CLUSTER), CLUSTER]
    code, table = 0, []
    for part in wanted:
        inventories = [word for name in INVENTORIES_OF[part] for word in ("-i", str(ROOT / "inventories" / name))]
        names = [word for name in only if name not in PARTS for word in ("--only", name)]
        subprocess.run([LAB, "down"], check=True)
        subprocess.run([LAB, *inventories, "up"], check=True)
        result_of(part).unlink(missing_ok=True)
        words = [sys.executable, str(Path(__file__).resolve()), programs, "--part", part, *names]
        code |= subprocess.run([LAB, "run", *words], check=False).returncode
        if result_of(part).exists():
            table += [Row(**row) for row in json.loads(result_of(part).read_text())]
    if len(wanted) > 1:
        report(table, ROOT / ".cache/kubernetes/result.json")
    if not code:
        subprocess.run([LAB, "down"], check=True)
    return int(bool(code))


def main() -> int:
    """Run the parts, or one part on the controller of the lab."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="?", default="", help="the directory of the programs")
    parser.add_argument("--check", action="store_true", help="only check the directory")
    parser.add_argument("--part", choices=PARTS, help="run this part, in the lab that runs: for `lab run`")
    parser.add_argument("--keep", action="store_true", help="the cluster is there already: only run the tests")
    parser.add_argument("--only", action="append", default=[], help="a part, or a test of the cluster; can be repeated")
    options = parser.parse_args()
    if text := missing(options.programs):
        print(text, file=sys.stderr)
        return 2
    if options.check:
        return 0
    if options.part:
        return PARTS[options.part](Path(options.programs).resolve(), options.only, options.keep)
    return run_parts(options.programs, options.only)


if __name__ == "__main__":
    sys.exit(main())
