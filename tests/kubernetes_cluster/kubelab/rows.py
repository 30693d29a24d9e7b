# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The tests of the cluster. Each returns lines of the table."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import bootstrap, hosts
from .bootstrap import Settings
from .hosts import (
    ADDED,
    INVENTORIES,
    PROGRAMS,
    StepError,
    apply,
    each,
    filled,
    kubectl,
    lab,
    objects,
    on,
    play,
    until,
    write,
)
from .traffic import Flow, Pod, Row, agents, during, measure

NEW_NODE = "idc3"
IDC = "idc1"  # the host of the webhook
NODE_PORT = 30080
API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"


def deploy(settings: Settings) -> None:
    """Create the Pods and Services of the test, and wait until they run."""
    certificate = webhook_certificate()
    apply(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "agent"}, "type": "kubernetes.io/tls",
                "data": {name: base64.b64encode(text.encode()).decode() for name, text in certificate.items()},
            }
        ),
    )  # fmt: skip
    apply(filled("agents.yaml", idc=IDC, dns=settings.dns, api_service=settings.api_service))
    kubectl("rollout status daemonset/agent --timeout=180s", seconds=200)
    kubectl("rollout status deployment/idc --timeout=60s")
    kubectl("-n kube-system rollout status deployment/dns --timeout=60s")


def webhook_certificate() -> dict[str, str]:
    """Return a key and a certificate for the webhook's Service, which is its own CA."""
    on(
        hosts.CONTROL,
        "cd /root && [ -f tls.crt ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc"
        " -keyout tls.key -out tls.crt -days 30 -subj /CN=webhook.default.svc"
        " -addext subjectAltName=DNS:webhook.default.svc 2>/dev/null",
    )
    return {name: on(hosts.CONTROL, f"cat /root/{name}") for name in ("tls.key", "tls.crt")}


# --- the data path -------------------------------------------------------------------------------


def nodes(settings: Settings) -> list[Row]:
    """Are all nodes of both sites Ready."""
    found = bootstrap.ready_nodes()
    late = [name for name in settings.addresses if not found.get(name)]
    return [Row("nodes Ready", len(settings.addresses), len(late), note=", ".join(late))]


def paths(settings: Settings) -> list[Row]:
    """Pod to Pod, Pod and node to Service, DNS and NodePort."""
    pods = agents()
    service = objects("service agent")["spec"]["clusterIP"]
    ports = [("clb1", "cloud1"), ("clb1", "cloud2"), ("idc1", "idc2"), ("idc2", "idc1")]
    every = [*settings.addresses]
    return [
        measure("Pod to Pod, other node, HTTP", mesh(pods), 25),
        measure("Pod to ClusterIP, HTTP", [Flow(pod, f"http://{service}/") for pod in pods.values()], 100),
        measure("Pod to ClusterIP, UDP", [Flow(pod, f"udp://{service}:81/") for pod in pods.values()], 100),
        *same_node(pods),
        measure("node to ClusterIP, HTTP", [Flow(name, f"http://{service}/") for name in every], 100),
        measure(
            "Pod to DNS",
            [Flow(pod, f"dns://{settings.dns}/agent.default.svc.cluster.local") for pod in pods.values()],
            100,
        ),
        measure(
            "NodePort, from another host",
            [Flow(client, f"http://{settings.addresses[node]}:{NODE_PORT}/") for client, node in ports],
            100,
        ),
    ]


def mesh(pods: dict[str, Pod]) -> list[Flow]:
    """Return the flows from each Pod to each other one."""
    return [Flow(one, f"http://{two.address}:8080/") for one in pods.values() for two in pods.values() if one != two]


def same_node(pods: dict[str, Pod]) -> list[Row]:
    """Pod to a ClusterIP whose only endpoint is on the Pod's own node."""
    webhook = objects("service webhook")["spec"]["clusterIP"]
    return [
        measure("Pod to ClusterIP, endpoint on the same node", [Flow(pods[IDC], f"http://{webhook}/")], 200),
        measure(
            "Pod to ClusterIP, endpoint in the IDC, from the cloud",
            [Flow(pods[name], f"http://{webhook}/") for name in ("cloud1", "cloud2")],
            100,
        ),
    ]


def api_from_pods(settings: Settings) -> list[Row]:
    """Does the Service of the API servers answer Pods of both sites, with its two kinds of endpoints."""
    before = ask_api_service(settings, "endpoints: API servers")
    for row in before:
        if ", idc," in row.name:  # the line between the sites carries only the tunnel and the VIPs
            row.unreachable, row.note = True, "as the guide says: no route"
    for name in ("api1", "api2"):
        text = on(name, f"cat {API_SERVER}")
        if "reconciler" not in text:
            changed = text.replace("- kube-apiserver\n", "- kube-apiserver\n    - --endpoint-reconciler-type=none\n", 1)
            write(name, "/root/kube-apiserver.yaml", changed)
            on(name, f"mv /root/kube-apiserver.yaml {API_SERVER}")
        until(f"{name} restarts", lambda name=name: restarted(name), 180)  # type: ignore[misc]
    bootstrap.publish(settings, "-e", "overlay_api_service=vip")
    time.sleep(2)  # kube-proxy learns of it after a second
    return before + ask_api_service(settings, "endpoint: VIP")


def record(settings: Settings) -> list[Row]:
    """Do the Node objects have what the ledger has, after tke.overlay.kubernetes."""
    bootstrap.publish(settings)
    ledger = json.loads((hosts.LAB_STATE / "overlay-ledger.json").read_text())["nodes"]
    found = {item["metadata"]["name"]: item["spec"].get("podCIDR", "") for item in objects("nodes")["items"]}
    wrong = {name: found.get(name) for name in settings.addresses if found.get(name) != ledger[name]["node_cidr"]}
    again = bootstrap.publish(settings)
    quiet = "changed=0" in again.partition("PLAY RECAP")[2] and "changed=1" not in again.partition("PLAY RECAP")[2]
    return [
        Row("podCIDR as in the ledger", len(settings.addresses), len(wrong), note=str(wrong or "")),
        Row("a second publication changes nothing", 1, int(not quiet)),
    ]


def restarted(name: str) -> bool:
    """Return whether the API server of a host runs with its new flag and answers."""
    script = "pgrep -f reconciler-type=none >/dev/null && curl -skf https://127.0.0.1:6443/readyz || true"
    return "ok" in on(name, script)


def ask_api_service(settings: Settings, about: str) -> list[Row]:
    """Return a line for the Pods of each site."""
    rows = []
    for site in ("cloud", "idc"):
        pods = [pod for node, pod in agents().items() if node.startswith(site)]
        flows = [Flow(pod, f"https://{settings.api_service}/readyz") for pod in pods]
        rows.append(measure(f"kubernetes.default from Pods, {site}, {about}", flows, 50))
    return rows


# --- the API servers reach nodes and Pods ---------------------------------------------------------


def counted(name: str, times: int, once: Callable[[int], object]) -> Row:
    """Return how often something failed."""
    row = Row(name, sent=times)
    for number in range(times):
        try:
            once(number)
        except StepError as error:
            row.lost += 1
            row.note = str(error)[-300:].replace("\n", " ")
    return row


def kubelets(_settings: Settings) -> list[Row]:
    """logs, exec and port-forward to a Pod of the data centre, and requests through the API server."""
    pod = agents("app=idc")[IDC]

    def logs(_number: int) -> None:
        if "answers" not in kubectl(f"logs {pod.name}"):
            raise StepError("no line in the log")

    def execute(number: int) -> None:
        if kubectl(f"exec {pod.name} -- /bin/sh -c 'echo {number}'").strip() != str(number):
            raise StepError("another output")

    def forward(number: int) -> None:
        port = 18000 + number
        on(
            hosts.CONTROL,
            f"{hosts.KUBECTL} port-forward {pod.name} {port}:8080 >/run/forward.log 2>&1 & pid=$!; "
            f"n=0; until curl -sf --max-time 3 http://127.0.0.1:{port}/; do n=$((n + 1)); "
            "[ $n -lt 20 ] || { kill $pid; cat /run/forward.log; exit 1; }; sleep 0.2; done; kill $pid",
        )

    proxy = "/api/v1/namespaces/default/services/webhook:http/proxy/"
    return [
        counted("kubectl logs, IDC Pod", 10, logs),
        counted("kubectl exec, IDC Pod", 10, execute),
        counted("kubectl port-forward, IDC Pod", 5, forward),
        counted("API server to IDC Pod (proxy)", 20, lambda _number: kubectl(f"get --raw {proxy}")),
    ]


def webhook(settings: Settings, servers: Sequence[str] = ("api1", "api2")) -> list[Row]:
    """Objects that a webhook in a Pod of the data centre admits, created by each of these API servers itself."""
    ca = base64.b64encode(webhook_certificate()["tls.crt"].encode()).decode()
    apply(filled("webhook.yaml", ca_bundle=ca))
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"w{number}", "labels": {"webhook": "agent"}}}
        for number in range(25)
    ]
    time.sleep(2)  # an API server learns of a webhook after a second
    row = Row("webhook in an IDC Pod, objects created", sent=25 * len(servers))
    for name in servers:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        server = f"--server=https://{settings.addresses[name]}:6443"
        script = f"{hosts.KUBECTL} {server} create --validate=false --dry-run=server -f - 2>&1 || true"
        output = on(hosts.CONTROL, script, stdin=document)
        created = output.count(" created")
        row.lost += 25 - created
        if created < 25:
            row.note = f"{name}: {output[-300:]}".replace("\n", " ")
    kubectl("delete validatingwebhookconfiguration agent")
    return [row]


# --- what happens in a cluster's life --------------------------------------------------------------


def lasting() -> list[Flow]:
    """Return the flows that run while something happens: Pods of both sites to Pods, and to a Service."""
    pods = agents()
    service = objects("service agent")["spec"]["clusterIP"]
    old = {name: pod for name, pod in pods.items() if name != NEW_NODE}
    pairs = [("cloud1", "idc1"), ("idc1", "cloud2"), ("idc2", "cloud1"), ("cloud2", "idc2"), ("idc1", "idc2")]
    return [Flow(old[one], f"http://{old[two].address}:8080/") for one, two in pairs] + [
        Flow(old[name], f"http://{service}/") for name in ("cloud1", "idc2")
    ]


def undisturbed(_settings: Settings) -> list[Row]:
    """Count the same requests while nothing happens: what the machine itself loses."""
    with during("nothing happens, 10 s", lasting()) as row:
        time.sleep(10)
    return [row]


def restarts(settings: Settings) -> list[Row]:
    """Restart the programs of a node under traffic."""
    flows, rows = lasting(), []
    for program, script in (
        ("containerd", "systemctl restart containerd"),
        ("kubelet", "systemctl restart kubelet"),
        ("kube-proxy", ""),
    ):
        with during(f"restart of {program} on all nodes", flows) as row:
            if script:
                each(functools.partial(run_there, script), settings.addresses)
            else:
                kubectl("-n kube-system rollout restart daemonset/kube-proxy")
                kubectl("-n kube-system rollout status daemonset/kube-proxy --timeout=180s", seconds=200)
            time.sleep(3)
        rows.append(row)
    bootstrap.await_ready([*settings.addresses])
    return rows


def run_there(script: str, name: str) -> str:
    """Run a script on a host."""
    return on(name, script)


def port_change(_settings: Settings) -> list[Row]:
    """Change the overlay's port under traffic, and back. The router between the sites lets both ports pass."""
    rows = []
    flows = lasting()
    for port in (4789, 8472):
        with during(f"port change to {port}, two runs of site", flows) as row:
            play("tke.overlay.site", "-e", f"overlay_port={port}", "-e", f"overlay_api_ca={bootstrap.CA}")
            row.note = "the run succeeded"
        rows.append(row)
    return rows


def add_and_release(settings: Settings, images: Path) -> list[Row]:
    """Add a node, run a Pod there, drain and release it, under traffic."""
    flows, rows = lasting(), []
    INVENTORIES.append(ADDED)
    address = hosts.inventory()["_meta"]["hostvars"][NEW_NODE]["ansible_host"]
    settings.addresses[NEW_NODE] = address
    with during("node added: site, kubeadm join, Ready", flows) as row:
        start = time.monotonic()
        play("tke.overlay.site", "-e", f"overlay_api_ca={bootstrap.CA}")
        bootstrap.prepare(NEW_NODE, images)
        bootstrap.configure(settings, "-e", f"overlay_api_ca={bootstrap.CA}")
        bootstrap.join(NEW_NODE)
        bootstrap.await_ready([NEW_NODE])
        kubectl("rollout status daemonset/agent --timeout=120s", seconds=150)
        row.note = f"Ready and a Pod runs after {time.monotonic() - start:.0f} s"
    rows.append(row)
    pods = agents()
    new = pods[NEW_NODE]
    both = [Flow(pods["cloud1"], f"http://{new.address}:8080/"), Flow(new, f"http://{pods['cloud1'].address}:8080/")]
    rows.append(measure("to and from a Pod on the new node", both, 100))
    with during("node drained, deleted and released", flows) as row:
        start = time.monotonic()
        kubectl(f"drain {NEW_NODE} --ignore-daemonsets --delete-emptydir-data --force --timeout=60s")
        kubectl(f"delete node {NEW_NODE}")
        until("no Service leads to the node", lambda: new.address not in kubectl("get endpointslices -o json"), 60)
        time.sleep(2)  # kube-proxy drops the endpoint after a second
        play(
            *("tke.overlay.release", "-e", f"overlay_release={NEW_NODE}", "-e", "overlay_release_confirmed=true"),
            *("-e", f"overlay_api_ca={bootstrap.CA}"),
        )
        on(NEW_NODE, f"PATH={PROGRAMS}:$PATH; kubeadm reset --force 2>&1 | tail -3", seconds=120)
        row.note = f"{time.monotonic() - start:.0f} s"
    rows.append(row)
    INVENTORIES.remove(ADDED)
    del settings.addresses[NEW_NODE]
    return rows


def outages(settings: Settings) -> list[Row]:
    """Stop one API server, and power one host of the pair off, each under requests to all that could suffer."""
    pods = agents()
    targets = {
        "VIP": [Flow(pods[name], f"https://{settings.vip}:6443/readyz") for name in ("cloud1", "idc1", "idc2")],
        "kubernetes.default": [
            Flow(pods[name], f"https://{settings.api_service}/readyz") for name in ("cloud1", "idc1")
        ],
        "Pods and Service": lasting(),
    }
    return [
        row
        for event, work in (
            ("API server api2 stopped and started", stop_api_server),
            ("clb1 powered off and booted", lose_load_balancer),
        )
        for row in through(event, work, targets)
    ]


def through(event: str, work: Callable[[], None], targets: dict[str, list[Flow]]) -> list[Row]:
    """Send to all targets during an event, and return a line for each."""
    with contextlib.ExitStack() as stack:
        rows = [stack.enter_context(during(f"{event}: {name}", flows)) for name, flows in targets.items()]
        work()
    return rows


def stop_api_server() -> None:
    """Stop an API server for some seconds."""
    on("api2", f"mv {API_SERVER} /root/")
    time.sleep(8)
    on("api2", f"mv /root/kube-apiserver.yaml {API_SERVER}")
    until("api2 answers", lambda: bool(on("api2", "curl -skf https://127.0.0.1:6443/readyz")), 240)


def lose_load_balancer() -> None:
    """Power a host of the pair off, and boot it again."""
    lab("poweroff", "clb1")
    time.sleep(4)
    lab("reboot", "clb1")
    time.sleep(5)


def proxy_mode(mode: str) -> None:
    """Switch kube-proxy to another mode."""
    document = objects("-n kube-system configmap kube-proxy")
    text = document["data"]["config.conf"]
    lines = [f"mode: {mode}" if line.startswith("mode:") else line for line in text.splitlines()]
    document["data"]["config.conf"] = "\n".join(lines) + "\n"
    apply(json.dumps(document))
    kubectl("-n kube-system rollout restart daemonset/kube-proxy")
    kubectl("-n kube-system rollout status daemonset/kube-proxy --timeout=180s", seconds=200)
