# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a host and its drift: how what it has differs from what was last applied. Nothing is changed.

What was applied is saved on the host itself (:mod:`saved_state`), so drift is found
without a plan and without the ledger. With the document of the plan, the status also
includes whether the host has the current plan; if it has, the files and units are
compared as well, by the code of the module node.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument, parse_fleet, plan_id
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.status import endpoint_drift, endpoint_notes
from ansible_collections.tke.overlay.plugins.module_utils._host.files import RIGHTS, read_files, read_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    LinkChange,
    LinkSpec,
    Row,
    compare_link,
    find_link,
    kind_of,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import RulesTable, counter_values
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    Delta,
    Diff,
    Run,
    Table,
    compare,
    read_json,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import WireguardTable
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.status import read_pair_status
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import converge
from ansible_collections.tke.overlay.plugins.module_utils._host.node.metrics import metrics_drift, saved_metrics
from ansible_collections.tke.overlay.plugins.module_utils._host.node.options import ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import outward_links, outward_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings, summarized
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import saved_network
from ansible_collections.tke.overlay.plugins.module_utils._host.node.reset import FILES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import INTERVAL
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import file_drift
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import (
    NO_BRIDGE_NETFILTER,
    differing_sysctls,
    without_missing,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    CHECKSUMS,
    RULES_FILE,
    SERVICE,
    STATE,
    TIMER,
    WIREGUARD_FILE,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.room import room_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    batch_file,
    may_have_pods,
    saved_entries,
    saved_settings,
    saved_summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import has_bridge_netfilter, read_host

MOST_NAMED = 3
"""Entries of a table that are named one by one; of more entries only the number is reported."""

NO_PAIR = "load balancer: not installed"

_COUNTERS = {
    f"{direction}_{what}": (direction, what)
    for direction in ("rx", "tx")
    for what in ("packets", "bytes", "dropped", "errors")
}


def read_status(
    run: Run,
    document: NodeDocument | None,
    vips: t.Sequence[str],
    load_balancer: bool = False,
    bin_dirs: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """Return the status as the module overlay_info returns it.

    :param document: the document of the plan that the host should have, if it is known.
    :param vips: addresses; those that the host holds now are returned.
    :param load_balancer: whether the host should be one of the pair.
    :param bin_dirs: where the container runtime looks for CNI plugins; empty: find out.
    :raises KernelError: something cannot be read.
    """
    settings, links = saved_settings(), read_links(run)
    summary, network = saved_summary(), saved_network(bin_dirs)
    device = settings.get("device")
    pair = read_pair_status(run)
    return {
        "node": summary.get("node"),
        "node_cidr": summary.get("node_cidr"),
        "vtep": _vtep(settings, find_link(device, links) if device else None),
        "underlay": settings.get("local"),
        "port": _number(settings.get("port")),
        "vni": _number(settings.get("vni")),
        "mtu": _number(settings.get("pod_mtu", settings.get("mtu"))),
        "peers": _number(summary.get("peers")),
        "plan": _plan(summary.get("plan"), document),
        "drift": [
            *(room_problems() if settings else []),
            *(_drift(settings, links, document, run) if _is_configured() else []),
            *endpoint_drift(run),
            *metrics_drift(),
            *(pair.drift if pair else [NO_PAIR] if load_balancer else []),
        ],
        "counters": {**_link_counters(device, run), "rules": _rule_counters(run)},
        "timer": _timer(run),
        "load_balancer": {"timer": pair.timer} if pair else None,
        "vips": [address for address in vips if address in _addresses(links)],
        "has_pods": may_have_pods(settings) if network or summary.get("node") else None,
        "pods": summarized(pod_findings(network, run, links)) if network else [],
        "notes": list(endpoint_notes()),
        **_wireguard(run),
    }


def _wireguard(run: Run) -> dict[str, t.Any]:
    """Return the WireGuard devices, without their private keys, on a host that has any. A damaged file is drift."""
    try:
        table = WireguardTable.parse(read_files([WIREGUARD_FILE]).get(WIREGUARD_FILE, ""))
    except KernelError:
        return {}
    if not table.specs:
        return {}
    answering = table.answering(run)
    devices = [
        {
            "device": spec.name,
            "generation": spec.generation,
            "port": spec.port,
            "public_key": spec.public_key,
            "peers": len(spec.peers),
            "answering": answering[spec.name],
        }
        for spec in table.specs
    ]
    return {"wireguard": devices}


def pods_drift(configured: bool | None, wanted: bool | None) -> list[str]:
    """Return a sentence if a node was configured with Pods and should have none, or the other way round.

    :param configured: ``None`` on a host that is no node.
    :param wanted: ``None`` if it is not known.
    """
    if configured is None or wanted is None or configured is wanted:
        return []
    words = "without Pods" if wanted else "for Pods"
    return [f"overlay_pods is {str(wanted).lower()}, and this host is configured {words}"]


def applied_plan() -> str | None:
    """Return the ID of the plan that this host has."""
    return saved_summary().get("plan")


def is_current(applied: str | None, document: NodeDocument) -> bool:
    """Return whether ``applied`` is the plan of the document. A host that is not in the document must have none."""
    return applied == _wanted_plan(document)


def _wanted_plan(document: NodeDocument) -> str | None:
    return plan_id(document) if document["node"] in parse_fleet(document["fleet"]) else None


def _is_configured() -> bool:
    """Return whether the host has any file of a node: it can have lost those that name it."""
    return any(os.path.lexists(files.ROOT + name) for name in FILES)


def _plan(applied: str | None, document: NodeDocument | None) -> dict[str, t.Any]:
    if document is None:
        return {"applied": applied, "wanted": None, "current": None}
    return {"applied": applied, "wanted": _wanted_plan(document), "current": is_current(applied, document)}


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _vtep(settings: t.Mapping[str, str], row: Row | None) -> dict[str, str] | None:
    if not settings:
        return None
    return {
        "address": settings.get("address", "").partition("/")[0],
        "mac": settings.get("mac", ""),
        "device": settings.get("device", ""),
        "state": "missing" if row is None else "up" if "UP" in row.get("flags", ()) else "down",
    }


def _addresses(links: t.Sequence[Row]) -> set[str]:
    return {info["local"] for row in links for info in row.get("addr_info", [])}


def _link_counters(device: str | None, run: Run) -> dict[str, int]:
    if device is None:
        return dict.fromkeys(_COUNTERS, 0)
    code, _out, _errors = run(["ip", "link", "show", "dev", device], None)
    rows = read_json(["ip", "-s", "-json", "link", "show", "dev", device], run) if code == 0 else []
    stats = rows[0].get("stats64", rows[0].get("stats", {})) if rows else {}
    return {name: stats.get(direction, {}).get(what, 0) for name, (direction, what) in _COUNTERS.items()}


def _rule_counters(run: Run) -> dict[str, int]:
    return {name: int(text.split()[1]) for name, text in counter_values(run).items()}


def _timer(run: Run) -> str:
    """Return the state of the restore timer and of its last run, in a few words."""
    host = read_host(run)
    if not host.systemd:
        return "no systemd"
    if not host.loaded:
        return "not installed"
    if "active" not in host.units.get(TIMER, ""):
        return "stopped"
    _code, out, _errors = run(("systemctl", "show", "-p", "Result,ExecMainStatus", SERVICE), None)
    values = dict(line.partition("=")[::2] for line in out.splitlines() if line)
    if values.get("Result", "success") == "success":
        return "active"
    return f"active, last run failed ({values['Result']} {values.get('ExecMainStatus', '')}): journalctl -u {SERVICE}"


# --- drift ---


def _drift(settings: t.Mapping[str, str], links: t.Sequence[Row], document: NodeDocument | None, run: Run) -> list[str]:
    """Return a sentence for each difference from what was applied."""
    if document is None or not is_current(applied_plan(), document):
        sentences = [
            *file_drift(CHECKSUMS, FILES),
            *_saved_kernel_drift(settings, links, run),
            *_saved_sysctl_drift(settings, links, run),
            *([] if has_bridge_netfilter(run) or not may_have_pods(settings) else [NO_BRIDGE_NETFILTER]),
        ]
        return list(dict.fromkeys(sentences))
    try:
        options = ConvergeOptions(interval=_interval(), pods=may_have_pods(settings), metrics=saved_metrics())
        difference = converge(document, run, check=True, options=options)
    except ValidationError as error:
        return list(error.problems)
    return [
        *_link_drift(difference.link),
        *(sentence for name, delta in difference.tables.items() for sentence in _table_drift(name, delta)),
        *(f"sysctl {diff.name}: {diff.before or 'missing'}, not {diff.after}" for diff in difference.sysctls),
        *_file_sentences(difference.files),
        *([] if difference.bridge_netfilter else [NO_BRIDGE_NETFILTER]),
        *(f"unit {diff.name}: is {diff.before or 'off'}, should be {diff.after}" for diff in difference.units),
    ]


def _file_sentences(diffs: t.Sequence[Diff]) -> list[str]:
    """Compare the files with the plan, and with the checksums of what was applied: the plan has no interval.

    The CNI file of a host with Pods also depends on its plugins, which :mod:`cni_checks` compares.
    """
    elsewhere = {CHECKSUMS, *(diff.name for diff in diffs if diff.name == CNI_FILE and diff.after)}
    sentences = [f"file {diff.name}: {_file_state(diff)}" for diff in diffs if diff.name not in elsewhere]
    return list(dict.fromkeys([*sentences, *file_drift(CHECKSUMS, FILES)]))


def _file_state(diff: Diff) -> str:
    """Return how a file differs. The module node shows a wrong mode or owner in place of the content."""
    if diff.after == f"{RIGHTS}\n":
        return diff.before.strip()
    if diff.before and not diff.after and not diff.name.startswith(f"{STATE}/"):
        return "surplus"
    return "changed" if os.path.lexists(files.ROOT + diff.name) else "missing"


def _interval() -> int:
    """Return the seconds between two runs of the restore timer as they are now: another interval is no drift."""
    path = f"/etc/systemd/system/{TIMER}"
    found = re.search(r"^OnUnitInactiveSec=(\d+)s$", read_files([path]).get(path, ""), re.MULTILINE)
    return int(found[1]) if found else INTERVAL


def _saved_kernel_drift(settings: t.Mapping[str, str], links: t.Sequence[Row], run: Run) -> t.Iterator[str]:
    """Compare the link, its tables and the rules with the saved state."""
    try:
        link = _saved_link(settings)
    except (KeyError, ValueError) as error:
        yield f"file {STATE}/settings: damaged ({error})"
        return
    row = find_link(link.name, links)
    is_vxlan = kind_of(row) == "vxlan"
    if is_vxlan or row is None:
        yield from _link_drift(compare_link(link, links))
    else:
        yield f"link {link.name}: not a VXLAN link, made by another program"
    tables: list[Table] = [
        RouteTable(link.name, within=settings.get("cidrs", "").split(), bridge=settings.get("bridge")),
        FdbTable(link.name),
        NeighborTable(link.name),
    ]
    for table in tables:
        yield from _saved_table_drift(table, is_vxlan, run)
    yield from _saved_bridge_drift(settings, links, run)
    yield from _saved_wireguard_drift(links, run)
    yield from _saved_rules_drift(run)


def _saved_link(settings: t.Mapping[str, str]) -> LinkSpec:
    return LinkSpec(
        name=settings["device"],
        vni=int(settings["vni"]),
        port=int(settings["port"]),
        local=settings["local"],
        mac=settings["mac"],
        mtu=int(settings["mtu"]),
        addresses=[settings["address"]],
    )


def _saved_table_drift(table: Table, has_device: bool, run: Run) -> t.Iterator[str]:
    try:
        saved = saved_entries(table)
    except KernelError as error:  # the file is damaged
        yield str(error)
        return
    if saved is None:
        yield f"file {batch_file(table)}: missing"
        return
    present = table.read(run) if has_device or not table.of_device else {}
    try:
        yield from _table_drift(table.name, compare(table, present, saved))
    except ValidationError as error:
        yield from error.problems


def _saved_bridge_drift(settings: t.Mapping[str, str], links: t.Sequence[Row], run: Run) -> t.Iterator[str]:
    if settings.get("node_cidr") and settings.get("bridge"):
        bridge = BridgeTable(settings["bridge"], settings.get("cidrs", "").split(), settings["node_cidr"])
        present = {**bridge.among(links), **bridge.beyond(links, run)}
        yield from _table_drift(bridge.name, compare(bridge, present, bridge.wanted(present)))


def _saved_wireguard_drift(links: t.Sequence[Row], run: Run) -> t.Iterator[str]:
    try:
        table = WireguardTable.parse(read_files([WIREGUARD_FILE]).get(WIREGUARD_FILE, ""))
    except KernelError as error:
        yield f"file {WIREGUARD_FILE}: {error}"
        return
    if table.specs or table.listings(links):
        yield from _table_drift(table.name, compare(table, table.read(links, run), table.wanted))


def _saved_rules_drift(run: Run) -> t.Iterator[str]:
    text = read_files([RULES_FILE]).get(RULES_FILE)
    if text is None:
        yield f"file {RULES_FILE}: missing"
        return
    rules = RulesTable(text)
    yield from _table_drift(rules.name, compare(rules, rules.read(run), rules.wanted))


def _saved_sysctl_drift(settings: t.Mapping[str, str], links: t.Sequence[Row], run: Run) -> t.Iterator[str]:
    path = f"{STATE}/sysctl"
    pairs = [line.split(None, 1) for line in read_files([path]).get(path, "").splitlines()]
    wanted = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # another line is damage, which the checksums show
    if may_have_pods(settings):
        wanted.update(outward_sysctls(outward_links(settings.get("local", ""), links, run)))
    wanted = without_missing(settings.get("bridge", ""), wanted)
    found = read_sysctls(wanted)
    for key, value in differing_sysctls(found, wanted).items():
        yield f"sysctl {key}: {found.get(key, 'missing')}, not {value}"


def _link_drift(change: LinkChange) -> t.Iterator[str]:
    if change and not change.before:
        yield f"link {change.lines[0].split()[2]}: missing"
    for key, value in change.before.items():
        yield f"link: {key} is {value}, not {change.after[key]}"


def _table_drift(name: str, delta: Delta) -> t.Iterator[str]:
    """Yield a sentence for each entry, or one with the number of many entries."""
    for state, lines in (
        ("missing", [f"{key} {spec}" for key, spec in delta.added.items()]),
        ("changed", [f"{key} {old}, not {new}" for key, (old, new) in delta.changed.items()]),
        ("surplus", [f"{key} {spec}" for key, spec in delta.removed.items()]),
    ):
        if len(lines) > MOST_NAMED:
            yield f"{name}: {len(lines)} {state}"
        else:
            yield from (f"{name}: {state} {line}" for line in lines)
