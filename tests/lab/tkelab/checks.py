# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The requirements on the machine. Each missing one is an error of one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .system import LAB_DIR, LabError

# Measured with 60 idle hosts: 8 MB each. Ansible adds a Python interpreter per task it runs.
MB_PER_HOST = 40
MB_FOR_ALL = 300
_COMMANDS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "ssh": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "apt-get": "apt",
}


def root() -> None:
    """Check that this process runs as root."""
    if os.geteuid():
        raise LabError("the lab creates namespaces and mounts: run it as root")


def machine() -> None:
    """Check the commands and the kernel."""
    packages = {package for name, package in _COMMANDS.items() if not shutil.which(name)}
    if packages:
        raise LabError(
            f"missing on this machine: {', '.join(sorted(packages))};"
            f" install the packages of {LAB_DIR / 'machine-packages.txt'}"
        )
    # In a temporary namespace, which ends with the command.
    for kind, words in (
        ("VXLAN", "name probe type vxlan id 1 dstport 8472"),
        ("veth", "name probe type veth"),
        ("bridge", "name probe type bridge"),
    ):
        command = ["unshare", "--net", "ip", "link", "add", *words.split()]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode:
            raise LabError(f"this kernel cannot create a {kind} link: {tried.stderr.strip()}")


def memory(hosts: int) -> None:
    """Check that the available memory is enough for so many more hosts."""
    if not hosts:
        return
    lines = Path("/proc/meminfo").read_text().splitlines()
    values = {key: int(value.split()[0]) for key, _, value in (ln.partition(":") for ln in lines)}
    available = values["MemAvailable"] // 1024
    needed = MB_FOR_ALL + hosts * MB_PER_HOST
    if available < needed:
        raise LabError(f"{hosts} hosts need about {needed} MB of memory, and {available} MB are available")
