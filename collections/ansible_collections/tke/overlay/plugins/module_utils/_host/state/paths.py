# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a node has of this collection, and the units: their names only."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host import files

STATE = "/etc/tke-overlay"

SETTINGS = f"{STATE}/settings"

SUMMARY = f"{STATE}/summary"

RULES_FILE = f"{STATE}/rules.nft"

FLEET_FILE = f"{STATE}/fleet"

CONFIRMED = f"{STATE}/.confirmed"
"""The saved state of a change that was confirmed, for the moment until each of its files is in its place."""

LOCK = f"{files.RUN_DIRECTORY}/lock"

SERVICE, TIMER = "tke-overlay.service", "tke-overlay.timer"

NETWORKD, NETWORK_MANAGER = "systemd-networkd.service", "NetworkManager.service"

UNIT_DIRECTORY = "/etc/systemd/system"

SYSCTL_FILE = "/etc/sysctl.d/99-tke-overlay.conf"

LINK_FILE = "/etc/systemd/network/10-tke-overlay.link"

NETWORK_FILE = "/etc/systemd/network/10-tke-overlay.network"

NETWORKD_FILE = "/etc/systemd/networkd.conf.d/10-tke-overlay.conf"

NETWORK_MANAGER_FILE = "/etc/NetworkManager/conf.d/10-tke-overlay.conf"

DROP_INS = (SYSCTL_FILE, LINK_FILE, NETWORK_FILE, NETWORKD_FILE, NETWORK_MANAGER_FILE)

UNIT_FILES = (f"{UNIT_DIRECTORY}/{SERVICE}", f"{UNIT_DIRECTORY}/{TIMER}")

WRITTEN_BY = "# Written by tke.overlay; changes are lost with its next run.\n"

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

ENDPOINT_NOTE = f"{STATE}/api-endpoint"
"""Where module api_endpoint notes the API endpoint of this host, one line ``host:port``: what the host must still reach
after a change, or the change is rolled back."""
