# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Read an Ansible inventory, through Ansible itself, into the document that describes a lab."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .model import Lab, build
from .system import REPO, LabError, call

DEFAULT = REPO / "inventories" / "lab"


def read(inventories: Sequence[Path]) -> Lab:
    """Return the lab that some inventories describe together.

    :raises LabError: when an inventory is missing, or does not describe a lab.
    """
    missing = [str(path) for path in inventories if not path.exists()]
    if missing:
        raise LabError(f"no such inventory: {', '.join(missing)}")
    sources = [word for path in inventories for word in ("-i", str(path))]
    listing = json.loads(call(_command(), *sources, "--list"))
    return build(document(listing))


def _command() -> str:
    own = REPO / ".venv" / "bin" / "ansible-inventory"
    if os.access(own, os.X_OK):
        return str(own)
    found = shutil.which("ansible-inventory")
    if not found:
        raise LabError(f"ansible-inventory is neither in {own.parent} nor in PATH; run `make venv`")
    return found


def document(listing: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the output of `ansible-inventory --list` that the lab needs.

    Hosts that Ansible reaches without an address (localhost, `ansible_connection: local`) do not belong to the lab.
    """
    hostvars: dict[str, dict[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    hosts = {
        name: variables["ansible_host"]
        for name, variables in hostvars.items()
        if "ansible_host" in variables and variables.get("ansible_connection") != "local"
    }
    kubernetes = [name for name in hosts if hostvars[name].get("lab_kubernetes")]
    suites = {name: str(hostvars[name]["lab_suite"]) for name in hosts if "lab_suite" in hostvars[name]}
    common = next(iter(hostvars.values()), {})
    missing = [name for name in ("lab_networks", "lab_controller", "lab_policy") if name not in common]
    if missing:
        raise LabError(
            f"this inventory does not describe a lab: set {', '.join(missing)}"
            " (see inventories/lab/group_vars/all/lab.yml)"
        )
    return {
        "networks": common["lab_networks"],
        "controller": common["lab_controller"],
        "policy": [_numbered(entry, common) for entry in common["lab_policy"]],
        "lines": common.get("lab_lines", []),
        "hosts": hosts,
        "suites": suites,
        "kubernetes": kubernetes,
        "programs": os.environ.get("KUBERNETES_BIN", "") if kubernetes else "",
    }


def _numbered(entry: Any, variables: dict[str, Any]) -> Any:
    """Return a policy entry in which the name of a variable is replaced by its value, a port."""
    if not isinstance(entry, dict):
        return entry
    return {key: variables.get(value, value) if key in ("tcp", "udp") else value for key, value in entry.items()}
