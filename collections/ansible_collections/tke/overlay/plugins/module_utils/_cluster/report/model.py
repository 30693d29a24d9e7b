# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as data: the ledger, the inventory and what was observed on the hosts.

:class:`Report` is the JSON document beside the page; the page shows nothing
else. A release that changes the meaning of a key, or removes one, increments
:data:`SCHEMA`. New keys may be added at any time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import KINDS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.vips import holders, pair_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.findings import (
    Finding,
    Situation,
    by_severity,
    findings,
    has_old_plan,
    is_unconfigured,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import Event, history
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day import PastDay
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import (
    Forecast,
    PoolMap,
    forecast,
    pool_map,
    reserve,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import (
    NodeReach,
    ProbedHost,
    ProbedPair,
    Reach,
    node_reach,
    pairs_of,
    reach,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._links import WIREGUARD

SCHEMA = 1

NEW_KEYS = frozenset({"past_day", "links"})
"""Keys that documents of former versions with this schema may lack."""


class LedgerVersions(t.NamedTuple):
    """The ledger, where it is stored, and its previous versions (name and ledger), newest first."""

    ledger: Ledger
    where: str
    previous: t.Sequence[tuple[str, Ledger]] = ()


class ReportOptions(t.NamedTuple):
    """What the report needs to know about its run.

    ``at``: the time in UTC, ISO 8601. ``events``: the number of changes to show.
    ``problem``: why there is no plan. ``past_day``: what Prometheus has recorded. ``links``: those of the plan.
    """

    at: str
    inventory: t.Sequence[str] = ()
    limit: str | None = None
    sites: t.Sequence[str] = ()
    reserved: t.Sequence[str] = ()
    title: str | None = None
    events: int = 20
    problem: str | None = None
    past_day: PastDay | None = None
    links: t.Sequence[t.Mapping[str, t.Any]] = ()


class Observed(t.TypedDict):
    """When and where the run observed the hosts, and how many nodes it selected, reached and let probe."""

    at: str
    inventory: list[str]
    limit: str | None
    ledger: str
    nodes: int
    selected: int
    reached: int
    probed: int


class ReportVerdict(t.TypedDict):
    """The result in one sentence.

    ``state``: ``healthy``, ``warn`` (healthy with warnings), ``partial`` (no
    problem in the observed part), ``bad`` or ``unobserved``.
    """

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
    """One node.

    ``observed``: its state was read. ``has_pods``: false on a member without Pods. ``state`` is the first of these that
    applies:

    ``orphan`` (only in the ledger), ``missing`` (without a node CIDR), ``unreachable`` (by Ansible), ``failed`` (a
    module failed there), ``unconfigured`` (without the overlay), ``loss`` (packets from or to it are lost), ``pods``
    (something on it prevents Pods from talking),
    ``unobserved`` (not selected by the run), ``differs`` (from its applied configuration or the plan), ``ok``.
    """

    name: str
    site: str
    state: str
    observed: bool
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
    has_pods: bool | None
    reach: NodeReach | None


class PendingNodeCidr(t.TypedDict):
    """A released node CIDR that is not free yet. ``on``: the hosts that have not removed it."""

    node_cidr: str
    number: int
    node: str
    since: str
    on: list[str]
    quarantined: bool


class Vip(t.TypedDict):
    """A VIP of the ledger. ``holders``: hosts of the pair. ``observed``: the run read the state of one of the pair."""

    name: str
    address: str
    holders: list[str]
    observed: bool


class ReportLink(t.TypedDict):
    """How the nodes of two sites, or of one, exchange the packets of Pods. ``mtu`` is that of a Pod's packet."""

    sites: list[str]
    nodes: list[int]
    transport: str
    mtu: int
    encrypted: bool


class Report(t.TypedDict):
    """The document. ``digest``: a hash of its content without times and measurements."""

    schema: int
    digest: str
    title: str
    cluster: str
    observed: Observed
    verdict: ReportVerdict
    findings: list[Finding]
    pool: PoolMap
    forecast: Forecast
    sites: list[Site]
    nodes: list[ReportNode]
    pending: list[PendingNodeCidr]
    links: list[ReportLink]
    vips: list[Vip]
    reach: Reach
    history: list[Event]
    past_day: PastDay | None


def build(versions: LedgerVersions, hosts: t.Sequence[ProbedHost], options: ReportOptions) -> Report:
    """Return the report.

    :param hosts: all hosts of the inventory that belong to the overlay, also those that the run did not select, in
        the inventory's order.
    """
    ledger = versions.ledger
    notes = [*_no_plan(options.problem), *_reserve(ledger, options.reserved)]
    # Without the peers that have no node CIDR: they cannot answer, and a finding reports them.
    probed = {host.name: [pair for pair in pairs_of(host) if pair["peer"] in ledger.nodes] for host in hosts}
    situation = Situation(ledger, hosts, options.limit, options.links)
    found = by_severity([*findings(situation), *notes])
    nodes = _nodes(situation, probed, found)
    observed = _observed(versions, situation, options)
    reachability = reach(hosts, probed, options.sites)
    report = Report(
        schema=SCHEMA,
        digest="",
        title=options.title or f"Overlay of {ledger.cluster}",
        cluster=ledger.cluster,
        observed=observed,
        verdict=_verdict(found, observed, reachability),
        findings=found,
        pool=pool_map(ledger, situation.orphans),
        forecast=forecast(ledger, [version for _name, version in versions.previous], options.at),
        sites=_sites(nodes, options.sites, reachability),
        nodes=nodes,
        pending=_pending(ledger),
        links=_links(options.links),
        vips=_vips(situation),
        reach=reachability,
        history=history(ledger, versions.where, versions.previous, options.events),
        past_day=options.past_day,
    )
    report["digest"] = _digest(report)
    return report


def _no_plan(problem: str | None) -> t.Iterator[Finding]:
    if problem:
        yield Finding(
            severity="bad",
            kind="conflict",
            hosts=[],
            text=f"There is no plan: {problem}",
            remedy="Fix the errors, then run: ansible-playbook tke.overlay.site",
        )


def _reserve(ledger: Ledger, reserved: t.Sequence[str]) -> t.Iterator[Finding]:
    try:
        reserve(ledger, reserved)
    except ValidationError as error:
        yield Finding(
            severity="warn",
            kind="reserved",
            hosts=[],
            text=f"The map does not show the reserved ranges (overlay_reserved): {error}.",
            remedy="Check the settings: ansible-playbook tke.overlay.preflight",
        )


def _observed(versions: LedgerVersions, situation: Situation, options: ReportOptions) -> Observed:
    nodes = situation.nodes
    return Observed(
        at=options.at,
        inventory=list(options.inventory),
        limit=options.limit,
        ledger=versions.where,
        nodes=len(nodes),
        selected=sum(host.selected for host in nodes),
        reached=sum(host.overlay is not None for host in nodes),
        probed=sum(host.probe is not None for host in nodes),
    )


def _verdict(found: t.Sequence[Finding], observed: Observed, reachability: Reach) -> ReportVerdict:
    bad, warn = (sum(finding["severity"] == severity for finding in found) for severity in ("bad", "warn"))
    complete = observed["reached"] == observed["nodes"] and bool(reachability["asked"])
    but = f", but {count(warn, 'finding')} {'needs' if warn == 1 else 'need'} attention" if warn else ""
    if bad:
        state, text = "bad", f"The network is not healthy: {count(bad, 'problem')} to fix."
    elif not observed["reached"]:
        state, text = "unobserved", "No node was observed: the report shows only the ledger and the inventory."
    elif not complete:
        state, text = "partial", f"The observed part of the network is healthy{but}."
    else:
        state, text = ("warn" if warn else "healthy"), f"The network is healthy{but}."
    return ReportVerdict(state=state, text=text, detail=_detail(observed, reachability))


def _detail(observed: Observed, reachability: Reach) -> str:
    """Return how much the verdict is based on."""
    nodes = f"{observed['reached']:,} of {count(observed['nodes'], 'node')} observed"
    if not reachability["asked"]:
        return f"{nodes}; reachability not measured."
    return f"{nodes}; {reachability['answered']:,} of {count(reachability['asked'], 'probe')} answered."


def _nodes(
    situation: Situation, probed: t.Mapping[str, list[ProbedPair]], found: t.Sequence[Finding]
) -> list[ReportNode]:
    """Return the nodes in the order of the inventory, then the orphans."""
    kinds: dict[str, list[str]] = {}
    for finding in found:
        if finding["severity"] != "note":
            for name in finding["hosts"]:
                kinds.setdefault(name, []).append(finding["kind"])
    hosts = [*situation.nodes, *(ProbedHost(name) for name in situation.orphans)]
    orphans = set(situation.orphans)
    return [
        _node(
            host,
            situation.ledger,
            host.name in orphans,
            kinds.get(host.name, []),
            node_reach(host, probed.get(host.name, [])),
        )
        for host in hosts
    ]


def _node(host: ProbedHost, ledger: Ledger, orphan: bool, kinds: list[str], reached: NodeReach | None) -> ReportNode:
    held, overlay = ledger.nodes.get(host.name), host.overlay or {}
    plan = overlay.get("plan") or {}
    counters = dict(overlay.get("counters") or {})
    counters.update({f"rule_{name}": packets for name, packets in (counters.pop("rules", None) or {}).items()})
    return ReportNode(
        name=host.name,
        site=host.site,
        state=_state(host, orphan, held is None, kinds),
        observed=host.overlay is not None,
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
        findings=kinds,
        counters={key: value for key, value in counters.items() if isinstance(value, int)} or None,
        timer=overlay.get("timer"),
        has_pods=overlay.get("has_pods"),
        reach=reached,
    )


def _state(host: ProbedHost, orphan: bool, missing: bool, kinds: t.Sequence[str]) -> str:
    overlay = host.overlay or {}
    for state, applies in (
        ("orphan", orphan),
        ("missing", missing),
        ("unreachable", host.unreachable),
        ("failed", bool(host.failures)),
        ("unconfigured", is_unconfigured(host)),
        ("loss", not set(KINDS).isdisjoint(kinds)),
        ("pods", "pods" in kinds),
        ("unobserved", host.overlay is None),
        ("differs", bool(overlay.get("drift")) or has_old_plan(overlay)),
    ):
        if applies:
            return state
    return "ok"


def _sites(nodes: t.Sequence[ReportNode], order: t.Sequence[str], reachability: Reach) -> list[Site]:
    """Return the sites that have nodes: those of ``order`` first."""
    names = [*order, *sorted({node["site"] for node in nodes} - set(order))]
    within = {cell["source"]: cell["median_ms"] for cell in reachability["sites"] if cell["source"] == cell["target"]}
    sites = []
    for name in names:
        members = [node for node in nodes if node["site"] == name and node["state"] != "orphan"]
        if not members:
            continue
        sites.append(
            Site(
                name=name,
                nodes=len(members),
                reached=sum(node["observed"] for node in members),
                findings=sum(bool(node["findings"]) for node in members),
                median_ms=within.get(name),
            )
        )
    return sites


def _pending(ledger: Ledger) -> list[PendingNodeCidr]:
    rows = [
        PendingNodeCidr(
            node_cidr=node_cidr,
            number=ledger.pool.number(node_cidr),
            node=pending.node,
            since=pending.since,
            on=list(pending.on),
            quarantined=pending.quarantined,
        )
        for node_cidr, pending in ledger.pending.items()
    ]
    return sorted(rows, key=lambda row: row["number"])


def _vips(situation: Situation) -> list[Vip]:
    pair = pair_of(situation.overlays)
    return [
        Vip(name=name, address=address, holders=holders(address, pair), observed=bool(pair))
        for name, address in sorted(situation.ledger.vips.items(), key=lambda item: int(ipaddress.ip_address(item[1])))
    ]


def _links(links: t.Iterable[t.Mapping[str, t.Any]]) -> list[ReportLink]:
    """Return the links: those that encrypt first."""
    rows = [
        ReportLink(
            sites=list(link["sites"]),
            nodes=list(link["nodes"]),
            transport=link["transport"],
            mtu=link["mtu"],
            encrypted=link["transport"] == WIREGUARD,
        )
        for link in links
    ]
    return sorted(rows, key=lambda row: (not row["encrypted"], row["transport"], row["sites"]))


def _digest(report: Report) -> str:
    """Return a hash of the report without what differs in every run: the time, measurements and counters."""
    nodes = [
        {**node, "counters": None, "timer": None, "reach": _without_times(node["reach"])} for node in report["nodes"]
    ]
    measured = {"median_ms", "worst_ms", "worst"}
    sites = [{key: value for key, value in cell.items() if key not in measured} for cell in report["reach"]["sites"]]
    content: dict[str, t.Any] = {
        **report,
        "digest": None,
        "observed": {**report["observed"], "at": None},
        "forecast": None,
        "nodes": nodes,
        "sites": [{**site, "median_ms": None} for site in report["sites"]],
        "reach": sites,
    }
    del content["past_day"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def _without_times(reached: NodeReach | None) -> t.Any:
    return reached and [reached["asked"], reached["answered"]]


def is_report(document: t.Any) -> bool:
    """Return whether this is a document of :func:`build` with this schema."""
    return (
        isinstance(document, dict)
        and document.get("schema") == SCHEMA
        and Report.__annotations__.keys() - NEW_KEYS <= document.keys()
    )


def data_text(report: Report) -> str:
    """Return the JSON document. Lists have one line for each entry."""
    parts = []
    for key, value in report.items():
        if isinstance(value, list) and value:
            lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def summary(report: Report) -> str:
    """Return the report for a diff: one line for each entry, without times and measurements."""
    capacity = report["pool"]["capacity"]
    lines = [
        report["verdict"]["text"],
        report["verdict"]["detail"],
        f"node CIDRs: {capacity['used']} of {capacity['max_nodes']} used, {capacity['free']} free",
        *(f"{finding['severity']}: {finding['text']}" for finding in report["findings"]),
        *(f"link {' - '.join(link['sites'])} {link['transport']} {link['mtu']}" for link in report.get("links") or ()),
        *(f"VIP {vip['name']} {vip['address']}: {', '.join(vip['holders']) or 'none'}" for vip in report["vips"]),
        *(
            f"node {node['name']} {node['node_cidr'] or '-'} {node['site'] or '-'} {node['state']}"
            for node in report["nodes"]
        ),
    ]
    return "".join(f"{line}\n" for line in lines)
