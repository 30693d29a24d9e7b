# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""From hosts with an overlay to a Kubernetes cluster, with kubeadm: the order of the guide."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from .hosts import CONTROL, FILES, LAB_STATE, PROGRAMS, filled, kubectl, on, play, send, until, write

CA = LAB_STATE / "kubernetes-ca.crt"
CONFIGURATION = LAB_STATE / "kubernetes"  # overlay_kubernetes_dest of the inventory


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the cluster is made with."""

    version: str
    api_name: str
    services: str
    vip: str
    addresses: dict[str, str]  # of the nodes

    @property
    def dns(self) -> str:
        """The address of the DNS Service, the tenth of the Service range."""
        return self.services.rpartition(".")[0] + ".10"

    @property
    def api_service(self) -> str:
        """The address of the Service `kubernetes`, the first of the Service range."""
        return self.services.rpartition(".")[0] + ".1"


def prepare(name: str, images: Path) -> None:
    """Configure and start containerd on a host, and import the images."""
    write(name, "/etc/containerd/config.toml", (FILES / "containerd.toml").read_text())
    write(name, "/etc/systemd/system/containerd.service", (FILES / "containerd.service").read_text())
    write(name, "/etc/systemd/system/kubelet.service", (FILES / "kubelet.service").read_text())
    # A suite whose own containerd is too old has one in the directory of programs.
    on(
        name,
        f". /etc/os-release; mkdir -p /lib/modules; if [ -x {PROGRAMS}/$VERSION_CODENAME/containerd ]; then"
        f" ln -sfn {PROGRAMS}/$VERSION_CODENAME /usr/local/lib/containerd; "
        "ln -sf /usr/local/lib/containerd/ctr /usr/local/bin/ctr; fi; "
        "systemctl daemon-reload; systemctl enable kubelet containerd; systemctl restart containerd",
    )
    send(name, images, "ctr -n k8s.io images import -")


def start_etcd(address: str) -> None:
    """Start the one member of etcd."""
    write(CONTROL, "/etc/default/etcd", filled("etcd.default", name=CONTROL, address=address))
    on(CONTROL, "mkdir -p /var/lib/etcd; chown etcd: /var/lib/etcd; systemctl enable etcd; systemctl restart etcd")


def kubeadm(name: str, command: str) -> str:
    """Run kubeadm on a host."""
    return on(name, f"PATH={PROGRAMS}:/usr/local/bin:$PATH; kubeadm {command} 2>&1", seconds=600)


def configure(settings: Settings, *arguments: str) -> None:
    """Write the configuration of kubeadm for every host, on the controller."""
    play("tke.overlay.kubernetes_config", "-e", f"lab_kubernetes_version={settings.version}", *arguments)


def init(settings: Settings, control_images: Path) -> None:
    """Start the first API server."""
    send(CONTROL, control_images, "ctr -n k8s.io images import -")
    configure(settings)
    write(CONTROL, "/root/kubeadm.yaml", (CONFIGURATION / f"{CONTROL}.yaml").read_text())
    # The first API server needs the name before the endpoint can answer.
    line = f"{settings.vip} {settings.api_name}"
    on(CONTROL, f"grep -q '{line}' /etc/hosts || echo '{line}' >>/etc/hosts")
    kubeadm(CONTROL, "init --config /root/kubeadm.yaml --skip-phases=addon/coredns")
    CA.write_text(on(CONTROL, "cat /etc/kubernetes/pki/ca.crt"))


def remove_first_name(settings: Settings) -> None:
    """Remove the line of :func:`init`, after the endpoint step. Until then kube-proxy may start, which gets a copy."""
    on(CONTROL, f"sed -i '/^{settings.vip} {settings.api_name}$/d' /etc/hosts")


def join(name: str) -> None:
    """Join a host, as another API server or as a node, as its configuration says."""
    write(name, "/root/kubeadm.yaml", (CONFIGURATION / f"{name}.yaml").read_text())
    kubeadm(name, "join --config /root/kubeadm.yaml")


def publish(settings: Settings, *arguments: str) -> str:
    """Run tke.overlay.kubernetes with the administrator's kubeconfig, in which the controller finds the VIP."""
    kubeconfig = LAB_STATE / "admin.conf"
    text = on(CONTROL, "cat /etc/kubernetes/admin.conf")
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(text.replace(f"//{settings.api_name}:", f"//{settings.vip}:"))
    ca = ("-e", f"overlay_api_ca={CA}")
    return play("tke.overlay.kubernetes", "-e", f"overlay_kubeconfig={kubeconfig}", *ca, *arguments)


def copy_certificates(name: str) -> None:
    """Copy what all API servers share: the CAs and the key of service accounts."""
    shared = on(CONTROL, "cd /etc/kubernetes/pki && tar c ca.* sa.* front-proxy-ca.* | base64")
    on(name, "mkdir -p /etc/kubernetes/pki && base64 -d | tar x -C /etc/kubernetes/pki", stdin=shared)


def ready_nodes() -> dict[str, bool]:
    """Return for each node whether it is Ready."""
    rows = kubectl("get nodes --no-headers").splitlines()
    return {row.split()[0]: "Ready" in row.split()[1].split(",") for row in rows}


def await_ready(names: list[str], seconds: float = 240) -> float:
    """Wait until all nodes are Ready."""

    def ready() -> bool:
        found = ready_nodes()
        return all(found.get(name) for name in names)

    return until(f"nodes Ready: {', '.join(names)}", ready, seconds)
