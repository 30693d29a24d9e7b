# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the picture of the whole overlay as data: ledger, inventory, and what the hosts said. Pure.

:class:`Report` is the document that stands beside the page, and all that the
page shows. A release that changes the meaning of a key, or takes one away,
raises :data:`SCHEMA`; new keys may come at any time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import KINDS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.findings import (
    Finding,
    Situation,
    by_severity,
    findings,
    has_old_plan,
    is_bare,
    vip_holders,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import Event, history
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import (
    Forecast,
    PoolMap,
    forecast,
    pool_map,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import (
    FailedPair,
    NodeReach,
    ProbedHost,
    Reach,
    node_reach,
    pairs_of,
    reach,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

SCHEMA = 1


class PlanRecord(t.NamedTuple):
    """The ledger, where it is kept, and the versions before it (name and ledger), newest first."""

    ledger: Ledger
    where: str
    previous: t.Sequence[tuple[str, Ledger]] = ()


class ReportOptions(t.NamedTuple):
    """The run that looked: when (UTC, ISO 8601), at what, and how to show it. ``problem``: why there is no plan."""

    at: str
    inventory: t.Sequence[str] = ()
    limit: str | None = None
    sites: t.Sequence[str] = ()
    reserved: t.Sequence[str] = ()
    title: str | None = None
    events: int = 20
    problem: str | None = None


class Observed(t.TypedDict):
    """When it was looked, and how much of it was seen (numbers of nodes)."""

    at: str
    inventory: list[str]
    limit: str | None
    ledger: str
    nodes: int
    asked: int
    reached: int
    probed: int


class ReportVerdict(t.TypedDict):
    """The answer at a glance. ``state``: ``whole``, ``warn`` (whole, but), ``partial``, ``bad`` or ``unseen``."""

    state: str
    text: str
    detail: str


class Site(t.TypedDict):
    """One site, with the numbers of its nodes."""

    name: str
    nodes: int
    reached: int
    findings: int
    median_ms: float | None


class ReportNode(t.TypedDict):
    """One node. ``seen``: it was looked at. ``state`` is the first of these that applies:

    ``orphan`` (in the ledger only), ``missing`` (without a node CIDR), ``unreachable`` (by Ansible), ``failed`` (a
    module failed there), ``bare`` (nothing of the overlay is on it), ``loss`` (packets from or to it are lost),
    ``unseen`` (not looked at), ``differs`` (not as applied, or not as planned), ``ok``.
    """

    name: str
    site: str
    state: str
    seen: bool
    node_cidr: str | None
    number: int | None
    underlay: str | None
    underlay_mtu: int | None
    since: str | None
    pinned: bool
    mtu: int | None
    plan: str | None
    current: bool | None
    drift: list[str]
    failures: list[str]
    findings: list[str]
    counters: dict[str, int] | None
    timer: str | None
    reach: NodeReach | None


class Waiting(t.TypedDict):
    """A released node CIDR that may not be handed out yet."""

    node_cidr: str
    number: int
    node: str
    since: str
    on: list[str]
    quarantined: bool


class Vip(t.TypedDict):
    """A VIP of the ledger; ``seen`` says whether a host that could hold it was looked at."""

    name: str
    address: str
    holders: list[str]
    seen: bool


class Report(t.TypedDict):
    """The document. ``picture`` names its content without times and measurements."""

    schema: int
    picture: str
    title: str
    cluster: str
    looked: Observed
    verdict: ReportVerdict
    findings: list[Finding]
    pool: PoolMap
    forecast: Forecast
    sites: list[Site]
    nodes: list[ReportNode]
    pending: list[Waiting]
    vips: list[Vip]
    reach: Reach
    history: list[Event]


def build(record: PlanRecord, hosts: t.Sequence[ProbedHost], look: ReportOptions) -> Report:
    """The picture.

    :param hosts: all hosts of the inventory that belong to the overlay, asked or not, in the inventory's order.
    """
    ledger = record.ledger
    notes = [*_no_plan(look.problem), *_keep_back(ledger, look.reserved)]
    # A node without a node CIDR cannot answer, and that is said of it already.
    asked = {host.name: [pair for pair in pairs_of(host) if pair["peer"] in ledger.nodes] for host in hosts}
    situation = Situation(ledger, hosts, look.limit)
    found = by_severity([*findings(situation), *notes])
    nodes = _nodes(situation, asked, found)
    looked = _looked(record, situation, look)
    reaching = reach(hosts, asked, look.sites)
    picture = Report(
        schema=SCHEMA,
        picture="",
        title=look.title or f"Overlay of {ledger.cluster}",
        cluster=ledger.cluster,
        looked=looked,
        verdict=_verdict(found, looked, reaching),
        findings=found,
        pool=pool_map(ledger, situation.orphans),
        forecast=forecast(ledger, [version for _name, version in record.previous], look.at),
        sites=_sites(nodes, look.sites, reaching),
        nodes=nodes,
        pending=_pending(ledger),
        vips=_vips(situation),
        reach=reaching,
        history=history(ledger, record.where, record.previous, look.events),
    )
    picture["picture"] = _identity(picture)
    return picture


def _no_plan(problem: str | None) -> t.Iterator[Finding]:
    if problem:
        yield Finding(
            severity="bad",
            kind="conflict",
            hosts=[],
            text=f"No plan can be made: {problem}",
            remedy="Resolve it, then: ansible-playbook tke.overlay.site",
        )


def _keep_back(ledger: Ledger, reserved: t.Sequence[str]) -> t.Iterator[Finding]:
    """Tells the pool of what is reserved, which the ledger does not know."""
    mine = ledger.pool
    try:
        pool = Pool(mine.cidrs, mine.node_cidr_size, mine.services, reserved)
    except ValidationError as refusal:
        yield Finding(
            severity="warn",
            kind="reserved",
            hosts=[],
            text=f"The map lacks what is reserved (overlay_reserved): {refusal}.",
            remedy="ansible-playbook tke.overlay.preflight says what is wrong with the settings.",
        )
        return
    for held in ledger.nodes.values():  # preflight refuses this; on the map the node counts
        pool.reserved.pop(pool.number(held.node_cidr), None)
    ledger.pool = pool


def _looked(record: PlanRecord, situation: Situation, look: ReportOptions) -> Observed:
    nodes = situation.nodes
    return Observed(
        at=look.at,
        inventory=list(look.inventory),
        limit=look.limit,
        ledger=record.where,
        nodes=len(nodes),
        asked=sum(host.asked for host in nodes),
        reached=sum(host.overlay is not None for host in nodes),
        probed=sum(host.probe is not None for host in nodes),
    )


def _verdict(found: t.Sequence[Finding], looked: Observed, reaching: Reach) -> ReportVerdict:
    severe = [sum(finding["severity"] == severity for finding in found) for severity in ("bad", "warn")]
    bad, warn = severe
    seen = f"{looked['reached']:,} of {looked['nodes']:,} nodes were seen"
    if reaching["asked"]:
        seen += f"; {reaching['answered']:,} of {reaching['asked']:,} questions to peers were answered"
    else:
        seen += "; whether they reach each other was not measured"
    if bad:
        things = f"{bad} thing{'s' if bad != 1 else ''}"
        return ReportVerdict(state="bad", text=f"The network is not whole: {things} to put right.", detail=f"{seen}.")
    if not looked["reached"]:
        return ReportVerdict(
            state="unseen", text="Nobody was asked: this is what the ledger says, and no more.", detail=f"{seen}."
        )
    more = f", and {warn} thing{'s want' if warn != 1 else ' wants'} attention" if warn else ""
    if looked["reached"] < looked["nodes"] or not reaching["asked"]:
        return ReportVerdict(state="partial", text=f"Nothing is broken as far as was looked{more}.", detail=f"{seen}.")
    if warn:
        return ReportVerdict(state="warn", text=f"The network is whole{more}.", detail=f"{seen}.")
    return ReportVerdict(state="whole", text="The network is whole.", detail=f"{seen}.")


def _nodes(
    situation: Situation, asked: t.Mapping[str, list[FailedPair]], found: t.Sequence[Finding]
) -> list[ReportNode]:
    """All nodes of inventory and ledger, by site in the order of the inventory, the orphans last."""
    told: dict[str, list[str]] = {}
    for finding in found:
        if finding["severity"] != "note":
            for name in finding["hosts"]:
                told.setdefault(name, []).append(finding["kind"])
    hosts = [*situation.nodes, *(ProbedHost(name) for name in situation.orphans)]
    orphans = set(situation.orphans)
    return [
        _node(
            host,
            situation.ledger,
            host.name in orphans,
            told.get(host.name, []),
            node_reach(host, asked.get(host.name, [])),
        )
        for host in hosts
    ]


def _node(host: ProbedHost, ledger: Ledger, orphan: bool, told: list[str], reaching: NodeReach | None) -> ReportNode:
    held, overlay = ledger.nodes.get(host.name), host.overlay or {}
    plan = overlay.get("plan") or {}
    counters = dict(overlay.get("counters") or {})
    counters.update({f"rule_{name}": packets for name, packets in (counters.pop("rules", None) or {}).items()})
    return ReportNode(
        name=host.name,
        site=host.site,
        state=_state(host, orphan, held is None, told),
        seen=host.overlay is not None,
        node_cidr=None if held is None else held.node_cidr,
        number=None if held is None else ledger.pool.number(held.node_cidr),
        underlay=None if held is None else held.underlay,
        underlay_mtu=None if held is None else held.underlay_mtu,
        since=None if held is None else held.since,
        pinned=held is not None and held.pinned,
        mtu=overlay.get("mtu"),
        plan=plan.get("applied"),
        current=plan.get("current") if plan.get("wanted") else None,
        drift=[str(line) for line in overlay.get("drift") or []],
        failures=list(host.failures),
        findings=told,
        counters={key: value for key, value in counters.items() if isinstance(value, int)} or None,
        timer=overlay.get("timer"),
        reach=reaching,
    )


def _state(host: ProbedHost, orphan: bool, missing: bool, told: t.Sequence[str]) -> str:
    overlay = host.overlay or {}
    for state, so in (
        ("orphan", orphan),
        ("missing", missing),
        ("unreachable", host.unreachable),
        ("failed", bool(host.failures)),
        ("bare", is_bare(host)),
        ("loss", not set(KINDS).isdisjoint(told)),
        ("unseen", host.overlay is None),
        ("differs", bool(overlay.get("drift")) or has_old_plan(overlay)),
    ):
        if so:
            return state
    return "ok"


def _sites(nodes: t.Sequence[ReportNode], order: t.Sequence[str], reaching: Reach) -> list[Site]:
    names = [*order, *sorted({node["site"] for node in nodes} - set(order))]
    within = {cell["source"]: cell["median_ms"] for cell in reaching["sites"] if cell["source"] == cell["target"]}
    sites = []
    for name in names:
        mine = [node for node in nodes if node["site"] == name and node["state"] != "orphan"]
        if not mine:
            continue
        sites.append(
            Site(
                name=name,
                nodes=len(mine),
                reached=sum(node["seen"] for node in mine),
                findings=sum(bool(node["findings"]) for node in mine),
                median_ms=within.get(name),
            )
        )
    return sites


def _pending(ledger: Ledger) -> list[Waiting]:
    rows = [
        Waiting(
            node_cidr=node_cidr,
            number=ledger.pool.number(node_cidr),
            node=waiting.node,
            since=waiting.since,
            on=list(waiting.on),
            quarantined=waiting.quarantined,
        )
        for node_cidr, waiting in ledger.pending.items()
    ]
    return sorted(rows, key=lambda row: row["number"])


def _vips(situation: Situation) -> list[Vip]:
    seen = any(host.overlay is not None and not host.node for host in situation.hosts)
    return [
        Vip(name=name, address=address, holders=vip_holders(address, situation.hosts), seen=seen)
        for name, address in sorted(situation.ledger.vips.items(), key=lambda item: int(ipaddress.ip_address(item[1])))
    ]


def _identity(picture: Report) -> str:
    """A name for what the picture shows, without what differs in every run: times of looking, and measurements."""
    nodes = [
        {**node, "counters": None, "timer": None, "reach": _answers(node["reach"])}  # both run on by themselves
        for node in picture["nodes"]
    ]
    measured = {"median_ms", "worst_ms", "worst"}
    sites = [{key: value for key, value in cell.items() if key not in measured} for cell in picture["reach"]["sites"]]
    content = {
        **picture,
        "picture": None,
        "looked": {**picture["looked"], "at": None},
        "forecast": None,
        "nodes": nodes,
        "sites": [{**site, "median_ms": None} for site in picture["sites"]],
        "reach": sites,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _answers(reach_of_node: NodeReach | None) -> t.Any:
    return reach_of_node and [reach_of_node["asked"], reach_of_node["answered"]]


def is_report(document: t.Any) -> bool:
    """Whether this is a document of :func:`build`, of this schema."""
    return (
        isinstance(document, dict)
        and document.get("schema") == SCHEMA
        and Report.__annotations__.keys() <= document.keys()
    )


def data_text(picture: Report) -> str:
    """The document as a file: what is long has a line for each entry."""
    parts = []
    for key, value in picture.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def summary(picture: Report) -> str:
    """For a diff: what matters to an operator, an entry a line, without times and measurements."""
    capacity = picture["pool"]["capacity"]
    lines = [
        picture["verdict"]["text"],
        picture["verdict"]["detail"],
        f"node CIDRs: {capacity['used']} of {capacity['max_nodes']} used, {capacity['free']} free",
        *(f"{finding['severity']}: {finding['text']}" for finding in picture["findings"]),
        *(f"VIP {vip['name']} {vip['address']}: {', '.join(vip['holders']) or 'nobody'}" for vip in picture["vips"]),
        *(
            f"node {node['name']} {node['node_cidr'] or '-'} {node['site'] or '-'} {node['state']}"
            for node in picture["nodes"]
        ),
    ]
    return "".join(f"{line}\n" for line in lines)
