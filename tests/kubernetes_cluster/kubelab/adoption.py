# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A running Kubernetes cluster with flannel moves to the overlay, with the commands of docs/day-two.md.

Its podCIDRs come from a real API server. Then its nodes move to the VIP, and a node joins through it.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from howto import DAY_TWO, section

from . import bootstrap, flannel_cluster, hosts, rows
from .bootstrap import Settings
from .flannel_cluster import NODES, pod_addresses, pod_cidrs
from .hosts import ADDED, CONTROL, INVENTORIES, LAB_STATE, ROOT, StepError, kubectl, on, play
from .traffic import Pod, Row, agents, connected, during, measure

FLANNEL = ROOT / "inventories/lab_flannel/hosts.yml"
LEDGER = LAB_STATE / "overlay-ledger.json"
NEW_NODE = "idc3"
STRANGER = "gone"
TITLE = "Move a cluster from flannel"


def adopt(settings: Settings, images: tuple[Path, Path]) -> Iterator[Row]:
    """Build the cluster, move it, and yield the lines of the table."""
    INVENTORIES.append(FLANNEL)
    found = flannel_cluster.build(settings, *images)
    rows.deploy(settings)
    use = ("-e", f"overlay_kubeconfig={fetch_kubeconfig()}")
    yield measure("flannel: Pod to Pod, other node, HTTP", rows.mesh(agents()), 25)
    yield from rows.undisturbed(settings)
    (inventory,), (preflight, forecast, *commands) = section(TITLE)
    INVENTORIES.append(written(inventory))
    yield from refused(found, use)
    yield stranger(preflight, use)
    kubectl(deletion_of_flannel().removeprefix("kubectl "))
    planned = play(*preflight, *use)
    yield each_named("podCIDRs in preflight", [f"gets {cidr}" for cidr in found.values()], planned)
    diff = play(*forecast, *use)
    yield Row("check mode writes no ledger", 1, int(LEDGER.exists() or "-flannel.1" not in diff))
    yield from moved(found, commands, use)
    yield started_again(found)
    yield from moved_to_vip(settings, images[0], use)


def moved(found: dict[str, str], commands: list[list[str]], use: tuple[str, ...]) -> Iterator[Row]:
    """Run the commands of the page that move the cluster, under traffic."""
    move, verify = commands
    before, pods = pod_addresses(), agents()
    with (
        during("moved from flannel: Pods and Service, HTTP", rows.lasting()) as requests,
        connected("moved from flannel: TCP connections kept", connections(pods)) as lines,
    ):
        play(*move, *use)
        time.sleep(3)
    yield from (requests, lines)
    yield pins(found)
    after = pod_addresses()
    changed = [f"{name} {one} to {after.get(name)}" for name, one in before.items() if after.get(name) != one]
    yield Row("Pods with the address they had", len(before), len(changed), note=", ".join(changed))
    play(*verify, *use)
    yield Row("the second run changes nothing", 1, int(not is_quiet(play(*move, *use))))


def fetch_kubeconfig() -> Path:
    """Copy the administrator's kubeconfig, whose server is the address of the API server, to the controller."""
    kubeconfig = LAB_STATE / "flannel-admin.conf"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(on(CONTROL, "cat /etc/kubernetes/admin.conf"))
    return kubeconfig


def written(text: str) -> Path:
    """Write the variables of the page into an inventory of their own."""
    (name,) = re.findall(r"^# (group_vars/.*\.yml)$", text, re.MULTILINE)
    place = LAB_STATE / "move"
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_text(text)
    (place / "hosts.yml").write_text("all: {}\n")
    return place / "hosts.yml"


def deletion_of_flannel() -> str:
    """Return the command of the page that stops flanneld."""
    (command,) = re.findall(r"^    (kubectl .*flannel.*)$", DAY_TWO.read_text(), re.MULTILINE)
    return str(command)


# --- what is refused, and what is entered ----------------------------------------------------------


def refused(found: dict[str, str], use: tuple[str, ...]) -> list[Row]:
    """Try variables that do not fit: each run must fail, name each host with its podCIDR, and write nothing."""
    table = []
    for name, given, words in (
        ("another container CIDR", {"overlay_container_cidr": "10.250.0.0/16"}, "not in the container CIDR"),
        ("node CIDRs of another size", {"overlay_max_pods_per_node": 128}, "overlay_max_pods_per_node"),
        ("a reserved range", {"overlay_reserved": [flannel_cluster.PRESET["idc2"]]}, "take it out of there"),
    ):
        text = failed("tke.overlay.site", "-e", json.dumps(given), *use)
        about = found if name != "a reserved range" else flannel_cluster.PRESET
        expected = [f"host {host}: Node {host} has the podCIDR {cidr}" for host, cidr in about.items()]
        row = each_named(f"refused by name: {name}", [*expected, words], text)
        row.lost += int(LEDGER.exists())
        table.append(row)
    return table


def failed(*words: str) -> str:
    """Return the output of a run that must fail, on one line."""
    try:
        play(*words)
    except StepError as error:
        return " ".join(str(error).split())
    return ""


def each_named(name: str, expected: list[str], text: str) -> Row:
    """Return a line that counts what a text lacks."""
    joined = " ".join(text.split())
    missing = [words for words in expected if words not in joined]
    return Row(name, len(expected), len(missing), note=f"not there: {missing}" if missing else "")


def stranger(preflight: list[str], use: tuple[str, ...]) -> Row:
    """Does preflight name a Node that is no host of the inventory, with its podCIDR."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": STRANGER}}
    hosts.apply(json.dumps(node))
    hosts.until("a podCIDR for the Node", lambda: bool(pod_cidrs().get(STRANGER)), 30)
    row = each_named("a Node that is no host is named", [f"{STRANGER} {pod_cidrs()[STRANGER]}"], play(*preflight, *use))
    kubectl(f"delete node {STRANGER}")
    return row


def pins(found: dict[str, str]) -> Row:
    """Does the ledger have the podCIDRs that kubectl prints, as pins."""
    assert pod_cidrs() == found
    held = json.loads(LEDGER.read_text())["nodes"]
    wrong = [name for name in found if (held[name]["node_cidr"], held[name]["pinned"]) != (found[name], True)]
    return Row("podCIDRs of kubectl get nodes are pins of the ledger", len(found), len(wrong), note=", ".join(wrong))


def connections(pods: dict[str, Pod]) -> list[tuple[Pod, Pod]]:
    """Return pairs of Pods: between the sites, and inside each."""
    pairs = [("cloud1", "idc1"), ("idc2", "cloud2"), ("cloud2", "cloud1"), ("idc1", "idc2")]
    return [(pods[one], pods[other]) for one, other in pairs]


def is_quiet(text: str) -> bool:
    """Return whether a run has changed nothing on any host."""
    return not re.search(r"changed=[1-9]", text.partition("PLAY RECAP")[2])


def started_again(found: dict[str, str]) -> Row:
    """Start all Pods again, now by the CNI file of the collection, and let them reach each other."""
    kubectl("rollout restart daemonset/agent")
    kubectl("rollout status daemonset/agent --timeout=180s", seconds=200)
    row = measure("Pods started after the move, HTTP", rows.mesh(agents()), 25)
    left = {name: on(name, "ls /var/lib/cni/networks/tke-overlay 2>/dev/null || true").split() for name in found}
    held = {name: [word for word in words if word.startswith("10.")] for name, words in left.items()}
    running = [*pod_addresses().values()]
    kept = sorted(address for words in held.values() for address in words if address not in running)
    row.note = f"addresses of deleted Pods that stay taken: {', '.join(kept)}" if kept else row.note
    row.lost += len(kept)
    return row


# --- from the API server's own address to the VIP --------------------------------------------------


def moved_to_vip(settings: Settings, node_images: Path, use: tuple[str, ...]) -> list[Row]:
    """Move kubelets, kube-proxy and cluster-info to the VIP, and let a node join through it."""
    bootstrap.CA.write_text(on(CONTROL, "cat /etc/kubernetes/pki/ca.crt"))
    certify(settings)
    variables = {
        "overlay_api_ca": str(bootstrap.CA),
        "overlay_kubeconfigs": ["/etc/kubernetes/kubelet.conf"],
        "overlay_kubeconfig_services": ["kubelet"],
        "overlay_kubernetes_update": ["cluster-info", "kube-proxy"],
    }
    vip = ("-e", json.dumps(variables))
    signatures = signed()
    with during("kubelets and kube-proxy move to the VIP", rows.lasting()) as row:
        text = play("tke.overlay.site", *vip, *use, "--limit", ",".join(NODES))
        kubectl("-n kube-system rollout restart daemonset/kube-proxy")
        kubectl("-n kube-system rollout status daemonset/kube-proxy --timeout=180s", seconds=200)
    servers = {name: on(name, "grep -h server: /etc/kubernetes/kubelet.conf").split()[1] for name in NODES}
    server = f"https://{settings.api_name}:6443"
    wrong = {name: each for name, each in servers.items() if each != server}
    again = signed()
    renewed = [token for token, signature in signatures.items() if again.get(token) not in (None, signature)]
    says = "rollout restart daemonset kube-proxy" in " ".join(text.split())
    table = [
        row,
        Row("the run says that kube-proxy has to be restarted", 1, int(not says)),
        Row("kubelets with the server of the VIP", len(NODES), len(wrong), note=str(wrong or "")),
        Row("signatures of cluster-info made again", len(signatures), len(signatures) - len(renewed)),
    ]
    return [*table, *joined(settings, node_images, (*vip, *use))]


def certify(settings: Settings) -> None:
    """Give the API server a certificate for the name and the VIP, as its administrator would."""
    settings_vip = json.loads(LEDGER.read_text())["vips"]["apiserver"]
    sans = ",".join((settings.api_name, settings_vip))
    on(CONTROL, "mv /etc/kubernetes/pki/apiserver.crt /etc/kubernetes/pki/apiserver.key /root/")
    bootstrap.kubeadm(CONTROL, f"init phase certs apiserver --apiserver-cert-extra-sans {sans}")
    restart = f"mv {rows.API_SERVER} /root/ && sleep 3 && mv /root/kube-apiserver.yaml {rows.API_SERVER}"
    on(CONTROL, restart)
    probe = f"curl -sf --cacert /etc/kubernetes/pki/ca.crt --connect-to {settings.api_name}::127.0.0.1: "
    hosts.until(
        "the new certificate", lambda: "ok" in on(CONTROL, f"{probe} https://{settings.api_name}:6443/readyz"), 120
    )


def signed() -> dict[str, str]:
    """Return the signature of cluster-info by the id of each bootstrap token."""
    data: dict[str, str] = hosts.objects("-n kube-public configmap cluster-info")["data"]
    return {name: text for name, text in data.items() if name.startswith("jws-kubeconfig-")}


def joined(settings: Settings, node_images: Path, variables: tuple[str, ...]) -> list[Row]:
    """Add a node, which finds the API servers by the changed cluster-info, and compare its record with the ledger."""
    manifest = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
    on(CONTROL, f"sed -i 's/--allocate-node-cidrs=true/--allocate-node-cidrs=false/' {manifest}")
    INVENTORIES.append(ADDED)
    INVENTORIES.append(INVENTORIES.pop(INVENTORIES.index(FLANNEL)))
    play("tke.overlay.site", *variables)
    bootstrap.prepare(NEW_NODE, node_images)
    command = bootstrap.kubeadm(CONTROL, "token create --print-join-command").splitlines()[-1]
    direct = f"{settings.addresses[CONTROL]}:6443"
    command = command.replace(direct, f"{settings.api_name}:6443")
    row = Row("kubeadm join through the VIP, with cluster-info as changed", 1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        flannel_cluster.join(NEW_NODE, command)
        bootstrap.await_ready([NEW_NODE])
    server = on(NEW_NODE, "grep -h server: /etc/kubernetes/kubelet.conf || true").split()[-1:]
    if server != [f"https://{settings.api_name}:6443"]:
        row.lost, row.note = 1, f"kubelet.conf has {server}"
    text = play("tke.overlay.kubernetes", *variables)
    ledger = json.loads(LEDGER.read_text())["nodes"]
    found = pod_cidrs()
    wrong = [name for name in (*NODES, NEW_NODE) if found.get(name) != ledger[name]["node_cidr"]]
    kubectl("rollout status daemonset/agent --timeout=120s", seconds=150)
    note = f"{wrong}: {text[-200:]}" if wrong else ""
    return [
        row,
        Row("podCIDR of the new node from the ledger", len(found), len(wrong), note=note),
        measure("with the new node: Pod to Pod, HTTP", rows.mesh(agents()), 25),
    ]
