# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What a host of the lab has in addition if it can run kubelet, containerd and etcd (`lab_kubernetes`)."""

from __future__ import annotations

import shutil
from pathlib import Path

from .model import Host
from .system import LAB_DIR

PROGRAMS = "/opt/kubernetes"  # where a host has the directory of KUBERNETES_BIN, read-only
_SCRIPT = LAB_DIR / "kubernetes-host.sh"
_UNIT = LAB_DIR / "kubernetes-host.service"
# An overlay cannot be the upper layer of another one, which containerd mounts, and etcd's fsync is slow on it.
_OUTSIDE = ("var/lib/containerd", "var/lib/kubelet", "var/lib/etcd")


def provision(root: Path) -> None:
    """Add the service that prepares the kernel's files at boot."""
    program, unit = "usr/local/sbin/lab-kubernetes-host", f"etc/systemd/system/{_UNIT.name}"
    for source, target in ((_SCRIPT, program), (_UNIT, unit)):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / target)
    (root / program).chmod(0o755)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / _UNIT.name).symlink_to(f"/{unit}")


def options(host: Host, state: Path) -> list[str]:
    """Return the further options of systemd-nspawn, and create the directories that they bind."""
    binds = []
    for name in _OUTSIDE:
        outside = state / "outside" / name
        outside.mkdir(parents=True, exist_ok=True)
        binds.append(f"--bind={outside}:/{name}")
    return [
        "--capability=all",
        "--system-call-filter=add_key keyctl bpf @mount",
        "--bind=/dev/kmsg",
        f"--bind-ro={host.programs}:{PROGRAMS}",
        *binds,
    ]
