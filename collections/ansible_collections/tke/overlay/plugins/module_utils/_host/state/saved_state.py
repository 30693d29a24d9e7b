# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The saved state: the last applied plan, as text below ``/etc/tke-overlay``.

It contains exactly the lines that ``ip -batch``, ``bridge -batch`` and ``nft -f``
applied, and ``restore.sh``, which compares them with the listings of the kernel and
applies the missing lines again. A unit runs the script at boot, a timer every 30
seconds.

The script adds what is missing, corrects what differs, and removes managed
entries that are not in the files (permanent entries on the VXLAN device, routes
of protocol 144, addresses of that device, anything in the nftables table). It
changes nothing else and never changes the plan: only Ansible applies another plan,
and saves it last. If a run ends half-way, the timer keeps the host at the previous
plan. Only Ansible restores files (this state, units, drop-ins, the CNI
configuration).
"""

from __future__ import annotations

import shlex
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Reader, Texts, read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import ALIAS, LinkSpec, compare_link
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Desired, Table, Wanted
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    SETTINGS,
    STATE,
    STATE_FILES,
    SUMMARY,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import RESTORE_SH


class SavedState(t.NamedTuple):
    """The content of the saved state, independent of the format of its files."""

    link: LinkSpec
    bridge: str  # empty on a host without Pods
    node_cidr: str
    cidrs: t.Sequence[str]
    tables: t.Sequence[tuple[Table, Wanted]]
    rules: str
    sysctls: Texts
    summary: t.Mapping[str, object]
    fleet: str  # with the names of all nodes, to rebuild a lost ledger; the script does not read it
    metrics: t.Mapping[str, str] = {}  # what the script must know to write metrics; empty: it writes none
    pod_mtu: int | None = None  # of the Pods, if the plan has links; otherwise it is that of the VXLAN link


def state_files(state: SavedState) -> Texts:
    """Return the files of the saved state except their checksums, by path."""
    link, header = state.link, WRITTEN_BY
    address = " ".join(link.addresses or ())
    settings = {
        "device": link.name,
        "alias": ALIAS,
        "bridge": state.bridge,
        "node_cidr": state.node_cidr,
        "gateway": f"{gateway_address(state.node_cidr)}/{state.node_cidr.partition('/')[2]}" if state.bridge else "",
        "vni": link.vni,
        "port": link.port,
        "local": link.local,
        "mac": link.mac,
        "mtu": link.mtu,
        "address": address,
        "cidrs": " ".join(state.cidrs),
        **state.metrics,
        **({} if state.pod_mtu is None else {"pod_mtu": state.pod_mtu}),
    }
    texts = {
        "summary": header + "".join(f"{key}: {value}\n" for key, value in state.summary.items()),
        "settings": header + "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in settings.items()),
        "fleet": state.fleet,
        "link.batch": "".join(f"{line}\n" for line in compare_link(link, []).lines),
        "rules.nft": state.rules,
        "sysctl": "".join(f"{files.sysctl_path(key)} {state.sysctls[key]}\n" for key in state.sysctls),
        "restore": RESTORE_SH,
    }
    for table, wanted in state.tables:
        texts[f"{table.name}.batch"] = wanted.batch
    return {f"{STATE}/{name}": texts[name] for name in STATE_FILES if name in texts}


def saved_entries(table: Table) -> Desired | None:
    """Return the entries that the saved batch of a table creates, or ``None`` without such a file.

    :raises KernelError: a line is not one that the table writes.
    """
    path = batch_file(table)
    text = read_files([path]).get(path)
    if text is None:
        return None
    entries: Desired = {}
    for line in text.splitlines():
        entry = table.parse(line)
        if entry is None:
            raise KernelError(f"{path} has a line that this collection does not write: {line!r}; run tke.overlay.site")
        entries[entry[0]] = entry[1]
    return entries


def batch_file(table: Table) -> str:
    """Return the path of the saved batch of a table."""
    return f"{STATE}/{table.name}.batch"


def line_diff(before: str, after: str) -> tuple[str, str]:
    """Return two texts without their common lines, for a diff that shows one changed peer and not 5,000."""
    if not (before and after):
        return before, after
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    shared = set(old) & set(new)
    return "".join(line for line in old if line not in shared), "".join(line for line in new if line not in shared)


def saved_summary(read: Reader = read_files) -> dict[str, str]:
    """Return the content of ``summary``, empty without such a file."""
    text = read([SUMMARY]).get(SUMMARY, "")
    pairs = [line.partition(": ") for line in text.splitlines() if not line.startswith("#")]
    return {key: value for key, mark, value in pairs if mark}


def may_have_pods(settings: t.Mapping[str, str]) -> bool:
    """Return whether a host has a Pod bridge according to its settings, also if they do not say it (damaged)."""
    return settings.get("bridge") != ""


def saved_settings(read: Reader = read_files) -> dict[str, str]:
    """Return the content of ``settings``, empty without such a file or if it is damaged."""
    text = read([SETTINGS]).get(SETTINGS, "")
    try:
        words = shlex.split(text, comments=True)
    except ValueError:  # damaged: a quotation that does not end
        return {}
    return {key: value for key, mark, value in (word.partition("=") for word in words) if mark}
