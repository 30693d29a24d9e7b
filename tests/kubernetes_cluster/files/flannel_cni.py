#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The CNI plugin flannel, which Debian does not have: it passes on to `bridge` and `host-local` what flanneld wrote.

Like the plugin of flannel 1.6, it keeps the configuration of each container for its
deletion. Runs with Python 3.9, too.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

SUBNET_FILE = pathlib.Path("/run/flannel/subnet.env")
KEPT = pathlib.Path("/var/lib/cni/flannel")


def delegated(given: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration for the plugin `bridge`."""
    environment = dict(line.split("=", 1) for line in SUBNET_FILE.read_text().split())
    address, _slash, length = environment["FLANNEL_SUBNET"].partition("/")
    return {
        "name": given["name"],
        "cniVersion": given["cniVersion"],
        "type": "bridge",
        "isGateway": True,
        "ipMasq": environment["FLANNEL_IPMASQ"] != "true",
        "mtu": int(environment["FLANNEL_MTU"]),
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": f"{address.rpartition('.')[0]}.0/{length}"}]],
            "routes": [{"dst": environment["FLANNEL_NETWORK"]}],
        },
        **given["delegate"],
    }


def main() -> int:
    """Carry out a command of the runtime."""
    command = os.environ["CNI_COMMAND"]
    given = json.load(sys.stdin)
    if command == "VERSION":
        print(json.dumps({"cniVersion": "1.0.0", "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0"]}))
        return 0
    kept = KEPT / os.environ["CNI_CONTAINERID"]
    if command == "ADD":
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(delegated(given)))
    elif not kept.exists():
        return 0
    bridge = pathlib.Path(__file__).with_name("bridge")
    done = subprocess.run([bridge], input=kept.read_text(), text=True, check=False)
    if command == "DEL" and done.returncode == 0:
        kept.unlink()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
