# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what is on a host now, and how that differs from what was last applied. Nothing here changes anything.

What was applied is saved on the host itself (:mod:`restore`), so neither a plan
nor the ledger is needed to see that something is otherwise. With the document of
the plan the host also knows whether the plan it has is the one it should have;
and if it is, files and units are compared, too, by the code of the module node.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument, parse_fleet, plan_id
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import differing, read_files, read_sysctls
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
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    Delta,
    Run,
    Table,
    compare,
    read_json,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import INTERVAL, converge
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import RULES_FILE, SERVICE, STATE, TIMER
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    batch_file,
    saved_entries,
    saved_settings,
    saved_summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import read_host

FEW = 3
"""Entries of a table that are named one by one; of more only the number is told."""

_COUNTERS = {
    f"{way}_{what}": (way, key)
    for way in ("rx", "tx")
    for what, key in (("packets", "packets"), ("bytes", "bytes"), ("dropped", "dropped"), ("errors", "errors"))
}


def read_status(run: Run, document: NodeDocument | None, vips: t.Sequence[str]) -> dict[str, t.Any]:
    """All of it, as the module overlay_info returns it.

    :param document: of the plan that the host should have, if that is known.
    :param vips: addresses of which those are listed that this host holds now.
    """
    settings, links = saved_settings(), read_links(run)
    summary = saved_summary()
    device = settings.get("device")
    return {
        "node": summary.get("node"),
        "node_cidr": summary.get("node_cidr"),
        "vtep": _vtep(settings, find_link(device, links) if device else None),
        "underlay": settings.get("local"),
        "port": _number(settings.get("port")),
        "vni": _number(settings.get("vni")),
        "mtu": _number(settings.get("mtu")),
        "peers": _number(summary.get("peers")),
        "plan": _plan(summary.get("plan"), document),
        "drift": _drift(settings, summary, links, document, run) if settings else [],
        "counters": {**_link_counters(device, run), "rules": _rule_counters(run)},
        "timer": _timer(run),
        "vips": [address for address in vips if address in _addresses(links)],
    }


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


def _plan(applied: str | None, document: NodeDocument | None) -> dict[str, t.Any]:
    if document is None:
        return {"applied": applied, "wanted": None, "current": None}
    return {"applied": applied, "wanted": _wanted(document), "current": is_current(applied, document)}


def _wanted(document: NodeDocument) -> str | None:
    return plan_id(document) if document["node"] in parse_fleet(document["fleet"]) else None


def applied_plan() -> str | None:
    """The name of the plan that this host has."""
    return saved_summary().get("plan")


def is_current(applied: str | None, document: NodeDocument) -> bool:
    """Whether the plan of this name is that of the document; none is right for a host that it does not know."""
    return applied == _wanted(document)


def _addresses(links: t.Sequence[Row]) -> set[str]:
    return {info["local"] for row in links for info in row.get("addr_info", [])}


def _link_counters(device: str | None, run: Run) -> dict[str, int]:
    if device is None:
        return dict.fromkeys(_COUNTERS, 0)
    code, _out, _errors = run(["ip", "link", "show", "dev", device], None)
    rows = read_json(["ip", "-s", "-json", "link", "show", "dev", device], run) if code == 0 else []
    stats = rows[0].get("stats64", rows[0].get("stats", {})) if rows else {}
    return {name: stats.get(way, {}).get(key, 0) for name, (way, key) in _COUNTERS.items()}


def _rule_counters(run: Run) -> dict[str, int]:
    return {name: int(text.split()[1]) for name, text in counter_values(run).items()}


def _timer(run: Run) -> str:
    """What becomes of the host between two runs, in a few words."""
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


def _drift(
    settings: t.Mapping[str, str],
    summary: t.Mapping[str, str],
    links: t.Sequence[Row],
    document: NodeDocument | None,
    run: Run,
) -> list[str]:
    """What is otherwise than it was applied, a sentence for each."""
    if document is not None and is_current(summary.get("plan"), document):
        try:
            outcome = converge(document, run, check=True, interval=_interval())
        except ValidationError as refusal:
            return list(refusal.problems)
        told = list(_of_link(outcome.link)) + [text for item in outcome.tables.items() for text in _of_table(*item)]
        told += [f"sysctl {diff.name}: {diff.before or 'missing'}, not {diff.after}" for diff in outcome.sysctls]
        told += [f"file {diff.name}: {'changed' if diff.before else 'missing'}" for diff in outcome.files]
        return told + [f"unit {diff.name}: is {diff.before or 'off'}, should be {diff.after}" for diff in outcome.units]
    return [*_of_saved_tables(settings, links, run), *_of_saved_sysctls()]


def _interval() -> int:
    """How often the timer looks on this host: what somebody has asked for is no drift."""
    path = f"/etc/systemd/system/{TIMER}"
    found = re.search(r"^OnUnitInactiveSec=(\d+)s$", read_files([path]).get(path, ""), re.MULTILINE)
    return int(found[1]) if found else INTERVAL


def _of_saved_tables(settings: t.Mapping[str, str], links: t.Sequence[Row], run: Run) -> t.Iterator[str]:
    """The link and its tables against the saved batches."""
    try:
        link = LinkSpec(
            name=settings["device"],
            vni=int(settings["vni"]),
            port=int(settings["port"]),
            local=settings["local"],
            mac=settings["mac"],
            mtu=int(settings["mtu"]),
            addresses=[settings["address"]],
        )
    except (KeyError, ValueError) as error:
        yield f"file {STATE}/settings: damaged ({error})"
        return
    there = kind_of(find_link(link.name, links)) == "vxlan"
    if there or find_link(link.name, links) is None:
        yield from _of_link(compare_link(link, links))
    else:
        yield f"link {link.name}: no VXLAN link, somebody else has made it"
    cidrs = settings.get("cidrs", "").split()
    tables: list[Table] = [
        RouteTable(link.name, within=cidrs, bridge=settings.get("bridge")),
        FdbTable(link.name),
        NeighborTable(link.name),
    ]
    for table in tables:
        saved = saved_entries(table)
        if saved is None:
            yield f"file {batch_file(table)}: missing"
            continue
        present = table.read(run) if there or not table.of_device else {}
        try:
            yield from _of_table(table.name, compare(table, present, saved))
        except ValidationError as refusal:
            yield from refusal.problems
    rules_file = read_files([RULES_FILE])
    if rules_file:
        rules = RulesTable(rules_file[RULES_FILE])
        yield from _of_table(rules.name, compare(rules, rules.read(run), rules.wanted))
    else:
        yield f"file {RULES_FILE}: missing"


def _of_saved_sysctls() -> t.Iterator[str]:
    path = f"{STATE}/sysctl"
    wanted = dict(line.split(None, 1) for line in read_files([path]).get(path, "").splitlines() if line)
    found = read_sysctls(wanted)
    for key, value in differing(found, wanted).items():
        yield f"sysctl {key}: {found.get(key, 'missing')}, not {value}"


def _of_link(change: LinkChange) -> t.Iterator[str]:
    if change and not change.before:
        yield f"link {change.lines[0].split()[2]}: missing"
    for key, value in change.before.items():
        yield f"link: {key} is {value}, not {change.after[key]}"


def _of_table(name: str, delta: Delta) -> t.Iterator[str]:
    """Few entries by their names, many by their number."""
    for word, lines in (
        ("missing", [f"{key} {spec}" for key, spec in delta.added.items()]),
        ("changed", [f"{key} {old}, not {new}" for key, (old, new) in delta.changed.items()]),
        ("surplus", [f"{key} {spec}" for key, spec in delta.removed.items()]),
    ):
        if len(lines) > FEW:
            yield f"{name}: {len(lines)} {word}"
        else:
            yield from (f"{name}: {word} {line}" for line in lines)
