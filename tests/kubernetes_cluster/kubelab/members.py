# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""An API server without a kubelet becomes a member of the overlay without Pods, and reaches Pods; conformance."""

from __future__ import annotations

import base64
import json
import re
import shlex

import yaml

from . import bootstrap, hosts, rows
from .bootstrap import Settings
from .hosts import INVENTORIES, PROGRAMS, ROOT, StepError, apply, filled, kubectl, on, play, screen, until
from .traffic import Row, during

MEMBER = "api2"
INVENTORY = ROOT / "inventories/lab_kubernetes/member.yml"
MANIFESTS = "/etc/kubernetes/manifests"


def members(settings: Settings) -> list[Row]:
    """Move an API server out of its kubelet, make it a member, and count what it asks of Pods in the data centre."""
    leave_kubelet()
    INVENTORIES.append(INVENTORY)
    try:
        with during("an API server becomes a member without Pods: Pods and Service", rows.lasting()) as row:
            play("tke.overlay.site", "-e", f"overlay_api_ca={bootstrap.CA}")
        left = on(MEMBER, "ls /etc/cni/net.d/10-tke-overlay.conflist /sys/class/net/tke-br0 2>/dev/null || true")
        row.lost, row.note = row.lost + len(left.split()), left or row.note
        return [row, *asked(settings), *conformance(settings, "with a member without Pods")]
    finally:
        INVENTORIES.remove(INVENTORY)


def leave_kubelet() -> None:
    """Run the API server of a host as a service with the flags of its static Pod, without kubelet and containerd."""
    manifest = yaml.safe_load(on(MEMBER, f"cat {MANIFESTS}/kube-apiserver.yaml"))
    flags = shlex.join(manifest["spec"]["containers"][0]["command"][1:])
    on(MEMBER, f"mv {MANIFESTS} /root/manifests")
    until("the static Pods end", lambda: on(MEMBER, "pgrep -x kube-apiserver || true") == "", 60)
    kubectl(f"delete node {MEMBER}")
    script = (
        "systemctl disable --now kubelet; for each in $(ctr -n k8s.io tasks list -q); do "
        "ctr -n k8s.io tasks kill -s KILL $each; done; systemctl disable --now containerd; "
        f"{PROGRAMS}/kube-proxy --cleanup 2>/dev/null; "
        f"systemd-run --quiet --unit=kube-apiserver -p Restart=always {PROGRAMS}/kube-apiserver {flags}"
    )
    on(MEMBER, script)
    until("the API server answers again", lambda: "ok" in on(MEMBER, "curl -skf https://127.0.0.1:6443/readyz"), 120)


def asked(settings: Settings) -> list[Row]:
    """Count what this API server asks of a Pod: a webhook, its proxy, an aggregated API."""
    ca = base64.b64encode(rows.webhook_certificate()["tls.crt"].encode()).decode()
    apply(filled("apiservice.yaml", ca_bundle=ca))
    kubectl("wait --for=condition=Available apiservice/v1.lab.internal --timeout=60s", seconds=80)
    own = f"--server=https://{settings.addresses[MEMBER]}:6443"
    proxy = "/api/v1/namespaces/default/services/webhook:http/proxy/"
    aggregated = "/apis/lab.internal/v1/things"
    vtep = json.loads((hosts.LAB_STATE / "overlay-ledger.json").read_text())["nodes"][MEMBER]["node_cidr"]
    source = vtep.partition("/")[0]

    def once(path: str) -> None:
        answer = kubectl(f"{own} get --raw {path}")
        if answer.split()[1:] != [source]:
            raise StepError(f"the Pod answers {answer!r}, not with the address of the member {source}")

    table = [
        rows.counted("member: API server to IDC Pod (proxy)", 20, lambda _number: once(proxy)),
        rows.counted("member: aggregated API in an IDC Pod", 20, lambda _number: once(aggregated)),
        *rows.webhook(settings, [MEMBER]),
    ]
    table[-1].name = "member: webhook in an IDC Pod, objects created"
    kubectl("delete apiservice v1.lab.internal")
    return table


def conformance(settings: Settings, about: str) -> list[Row]:
    """Run tke.overlay.conformance with the DNS of the cluster, and return a line for each of its paths."""
    names = [name for name in settings.addresses if not name.startswith("api")]
    given = {"overlay_conformance_nodes": names, "overlay_conformance_dns": settings.dns}
    text = screen("tke.overlay.conformance", "-e", f"overlay_api_ca={bootstrap.CA}", "-e", json.dumps(given))
    table = []
    for path in ("pod", "mtu", "service", "clusterip", "dns", "api", "hostport", "hairpin", "outside", "webhook"):
        found = re.search(rf"^{path} +(\d+|-) +(\d+|-)  +(.*)$", text, re.MULTILINE)
        sent, lost, note = found.groups() if found else ("-", "-", "no such line")
        row = Row(f"conformance {about}: {path}", int(sent.strip("-") or 0), int(lost.strip("-") or 0))
        row.note, row.failed = note.strip("- "), not row.sent
        table.append(row)
    return table
