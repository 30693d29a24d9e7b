# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the files and units that a node has from this collection."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host import files

WRITTEN_BY = "# Written by tke.overlay; changes are lost with its next run.\n"
"""The first line of every file that the collection writes as a whole."""

# --- the saved state ---

STATE = "/etc/tke-overlay"
"""The directory of the saved state."""

STATE_FILES = (
    "summary",
    "settings",
    "fleet",
    "link.batch",
    "neighbor.batch",
    "fdb.batch",
    "route.batch",
    "rules.nft",
    "sysctl",
    "restore",
)
"""The names of its files. A host has either all of them or none."""

SETTINGS = f"{STATE}/settings"
SUMMARY = f"{STATE}/summary"
RULES_FILE = f"{STATE}/rules.nft"
FLEET_FILE = f"{STATE}/fleet"

CONFIRMED = f"{STATE}/.confirmed"
"""The new files of a confirmed change, until each of them is moved to its place."""

ENDPOINT_NOTE = f"{STATE}/api-endpoint"
"""The API endpoint of this host, one line ``host:port``, written by the module api_endpoint. The host must reach it
after a change; otherwise the change is rolled back."""

LOCK = f"{files.RUN_DIRECTORY}/lock"
"""Held by a module or the restore script while it changes the host."""

# --- units ---

SERVICE, TIMER = "tke-overlay.service", "tke-overlay.timer"
NETWORKD, NETWORK_MANAGER = "systemd-networkd.service", "NetworkManager.service"

UNIT_DIRECTORY = "/etc/systemd/system"
UNIT_FILES = (f"{UNIT_DIRECTORY}/{SERVICE}", f"{UNIT_DIRECTORY}/{TIMER}")

# --- drop-ins ---

SYSCTL_FILE = "/etc/sysctl.d/99-tke-overlay.conf"
LINK_FILE = "/etc/systemd/network/10-tke-overlay.link"
NETWORK_FILE = "/etc/systemd/network/10-tke-overlay.network"
NETWORKD_FILE = "/etc/systemd/networkd.conf.d/10-tke-overlay.conf"
NETWORK_MANAGER_FILE = "/etc/NetworkManager/conf.d/10-tke-overlay.conf"
PROTOCOL_FILE = "/etc/iproute2/rt_protos.d/tke-overlay.conf"

DROP_INS = (SYSCTL_FILE, LINK_FILE, NETWORK_FILE, NETWORKD_FILE, NETWORK_MANAGER_FILE, PROTOCOL_FILE)
"""Every drop-in that a host can have."""
