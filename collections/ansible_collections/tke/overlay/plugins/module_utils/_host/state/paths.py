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
    "checksums",
)
"""The names of its files. A host has either all of them or none."""

CHECKSUMS = f"{STATE}/checksums"
SETTINGS = f"{STATE}/settings"
SUMMARY = f"{STATE}/summary"
RULES_FILE = f"{STATE}/rules.nft"
FLEET_FILE = f"{STATE}/fleet"

WIREGUARD_FILE = f"{STATE}/wireguard"
"""On a host with WireGuard links, its devices and their peers, one per line, without private keys."""

CONFIRMED = f"{STATE}/.confirmed"
"""The new files of a confirmed change, until each of them is moved to its place."""

ENDPOINT_NOTE = f"{STATE}/api-endpoint"
"""The API endpoint of this host, one line ``host:port``, written by the module api_endpoint. The host must reach it
after a change; otherwise the change is rolled back."""

ENDPOINT_HOSTS = f"{STATE}/endpoint.hosts"
"""The managed block of /etc/hosts, written by the module api_endpoint: the path of the file in the first line, then the
block. The restore script puts the block back."""

ENDPOINT_SERVERS = f"{STATE}/endpoint.servers"
"""The servers that the module api_endpoint has set in kubeconfigs: a line of JSON for each, with path, cluster and
URL. The status reports a kubeconfig that has another server again."""

ENDPOINT_BATCH = f"{STATE}/endpoint.batch"
"""The route to the load balancer, one line for ``ip -batch``, written by the module api_endpoint."""

ENDPOINT_CHECKSUMS = f"{STATE}/endpoint.checksums"
"""The checksums of these four files."""
PAIR_CHECKSUMS = f"{STATE}/clb/checksums"
"""On a load balancer host, the checksums of its files, written by the module clb."""

PAIR_CLUSTER_FILE = f"{STATE}/clb/cluster"
"""On a load balancer host, the name of its cluster, one line, written by the module clb."""
KUBECONFIG_RECORD = f"{files.RUN_DIRECTORY}/kubeconfigs"
"""When the module api_endpoint changed the server of each kubeconfig: a JSON object, path -> clock ticks since the
boot."""

LOCK = f"{files.RUN_DIRECTORY}/lock"
"""Held by a module or the restore script while it changes the host."""

PREPARED_NOTE = f"{files.RUN_DIRECTORY}/prepared"
"""Exists while this host accepts what other hosts send by another plan than its own, see :mod:`cutover`."""

ANY_MAC_NOTE = f"{files.RUN_DIRECTORY}/any-mac"
"""Exists while this host accepts frames of the tunnel for any MAC, see :mod:`cutover`."""

RESERVED = "/var/lib/cni/networks/tke-overlay"
"""The directory of the CNI plugin host-local: a file for each address that is reserved, named after the address."""

# --- units ---

SERVICE, TIMER = "tke-overlay.service", "tke-overlay.timer"
NETWORKD, NETWORK_MANAGER = "systemd-networkd.service", "NetworkManager.service"

UNIT_DIRECTORY = "/etc/systemd/system"
UNIT_FILES = (f"{UNIT_DIRECTORY}/{SERVICE}", f"{UNIT_DIRECTORY}/{TIMER}")

PROBE_SERVICE, PROBE_TIMER = "tke-overlay-probe.service", "tke-overlay-probe.timer"
PROBE_UNIT_FILES = (f"{UNIT_DIRECTORY}/{PROBE_SERVICE}", f"{UNIT_DIRECTORY}/{PROBE_TIMER}")

# --- metrics: only with overlay_metrics_dir ---

METRICS_TEXT = f"{STATE}/metrics"
"""The metrics of the restore script: shell commands that it reads, with its values as variables."""

METRICS_SCRIPT = f"{STATE}/metrics.sh"
"""The part of the restore script that writes them."""

PROBE_PROGRAM = f"{STATE}/probe.py"
PROBE_PEERS = f"{STATE}/probe.peers"
"""The program of the probe timer, and the peers that it probes."""

METRICS_STATE_FILES = (METRICS_TEXT, METRICS_SCRIPT, PROBE_PROGRAM, PROBE_PEERS)
"""The files of the metrics beside the saved state."""

METRICS_FILES = (*METRICS_STATE_FILES, *PROBE_UNIT_FILES)
"""Every file that the metrics of a node need, except those in the directory of node_exporter."""

METRICS_RECORDS = tuple(
    f"{files.RUN_DIRECTORY}/{name}"
    for name in ("metrics.counters", "metrics.firewall", "metrics.lock", "probe.record", "probe.lock")
)
"""What the restore script and the probe timer count or note since the boot."""

PROBE_CACHE = f"{files.RUN_DIRECTORY}/probe.cache"
"""Where Python keeps the compiled program of the probe timer."""

# --- WireGuard: only on a host with such a link ---

WIREGUARD_UNIT_FILE = f"{UNIT_DIRECTORY}/tke-overlay-wireguard@.service"
"""On a host with WireGuard links: runs wireguard-go where the kernel has no WireGuard. It must exist before the devices
do, so it is handled like a drop-in."""

# --- drop-ins ---

SYSCTL_FILE = "/etc/sysctl.d/99-tke-overlay.conf"
MODULES_FILE = "/etc/modules-load.d/tke-overlay.conf"
# Of all files that match a link, systemd applies the first: 00 precedes the files that match every link, such as those
# that netplan writes (10-netplan-NAME.network).
LINK_FILE = "/etc/systemd/network/00-tke-overlay.link"
NETWORK_FILE = "/etc/systemd/network/00-tke-overlay.network"
NETWORKD_FILE = "/etc/systemd/networkd.conf.d/10-tke-overlay.conf"
NETWORK_MANAGER_FILE = "/etc/NetworkManager/conf.d/10-tke-overlay.conf"
PROTOCOL_FILE = "/etc/iproute2/rt_protos.d/tke-overlay.conf"

TMPFILES_FILE = "/etc/tmpfiles.d/tke-overlay.conf"

DROP_INS = (
    SYSCTL_FILE,
    MODULES_FILE,
    LINK_FILE,
    NETWORK_FILE,
    NETWORKD_FILE,
    NETWORK_MANAGER_FILE,
    PROTOCOL_FILE,
    TMPFILES_FILE,
)
"""Every drop-in that a host can have."""

WIREGUARD_FILES = (WIREGUARD_FILE, WIREGUARD_UNIT_FILE)
"""What a host with WireGuard links has besides."""
