# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a ledger with the plans that hosts have applied, before it is written and before any host is changed.

A ledger that was lost, or an outdated copy, allocates node CIDRs that are in use. The
hosts know better: each has saved the plan that it has applied, and the version of the
ledger from which that was made. A restored backup may contradict no host, and has still
forgotten releases: its version shows that.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    Contradiction,
    Peer,
    SavedPlan,
    contradictions,
    parse_fleet,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import is_unknown, newest, number_of

MOST_NODES = 40
"""Nodes that the error names one by one."""

MOST_HOSTS = 5
"""Hosts that the error names for one node."""

ALL = "all"
"""In ``overlay_renumber``: every host."""


class SavedPlans(t.NamedTuple):
    """What some hosts have saved, and what the user accepts.

    ``records`` are results of the module saved_state, with the fleet, by host name.
    """

    records: t.Mapping[str, t.Mapping[str, t.Any]]
    renumber: t.Sequence[str] = ()  # hosts that may get another plan than a release explains
    take_over: t.Sequence[str] = ()  # other clusters whose hosts may change to this one
    pairs: t.Mapping[str, str] = {}  # host -> the cluster whose load balancer it carries
    older_ledger: str = ""  # the version of an older ledger that replaces the one that hosts know; NO_VERSION: none


NO_VERSION = "none"
"""Stands for the version of a ledger that has none: a new one, or one of an earlier release."""


class ContradictedLedgerError(ValidationError):
    """The ledger contradicts the plans that hosts have applied, or is older than they are."""


def check(ledger: Ledger, found: SavedPlans, where: str, *, is_new: bool) -> None:
    """Raise an error unless the ledger agrees with what the hosts have applied.

    :param is_new: whether there was no ledger before this run.
    :raises ContradictedLedgerError: hosts have other node CIDRs than the ledger has for them, or a newer version.
    :raises ValidationError: hosts belong to another cluster.
    """
    strangers = _strangers(ledger.cluster, found)
    known_by, versions = _contradictions(ledger, found), _unknown_versions(ledger, found)
    if not known_by and not versions:
        if strangers:
            raise ValidationError(*strangers)
        return
    lines = [_sentence(each, hosts) for each, hosts in sorted(known_by.items())]
    if len(lines) > MOST_NODES:
        lines = [*lines[:MOST_NODES], f"and {len(lines) - MOST_NODES} more nodes"]
    lines += [
        f"ledger version {version} was applied by {some_of(hosts, MOST_HOSTS)}, and the ledger has "
        f"{_version_of(ledger)}"
        for version, hosts in sorted(versions.items(), key=lambda each: number_of(each[0]), reverse=True)
    ]
    way_out = _way_out(known_by) if known_by else _way_back(ledger)
    raise ContradictedLedgerError(_reason(where, is_new, bool(known_by)), *lines, way_out, *strangers)


def agrees(ledger: Ledger, found: SavedPlans) -> bool:
    """Return whether a ledger agrees with what the hosts have applied."""
    return not _contradictions(ledger, found) and not _unknown_versions(ledger, found)


def accept_older(ledger: Ledger, found: SavedPlans) -> None:
    """Let a ledger continue after the versions that hosts have applied, if the user accepts that it is older."""
    if _is_accepted(ledger, found) and _newer_than(ledger, found):
        ledger.continue_after(_newer_than(ledger, found), changed=True)


def _is_accepted(ledger: Ledger, found: SavedPlans) -> bool:
    return found.older_ledger == _version_of(ledger)


def _version_of(ledger: Ledger) -> str:
    return newest(ledger.recorded) or NO_VERSION


def _unknown_versions(ledger: Ledger, found: SavedPlans) -> dict[str, list[str]]:
    """Return the versions that hosts have applied and the ledger does not know, with those hosts."""
    return {} if _is_accepted(ledger, found) else _newer_than(ledger, found)


def _newer_than(ledger: Ledger, found: SavedPlans) -> dict[str, list[str]]:
    hosts_of: dict[str, list[str]] = {}
    for host, record in _compared(ledger, found):
        version = record.get("ledger_version", "")
        if is_unknown(version, ledger.recorded):
            hosts_of.setdefault(version, []).append(host)
    return hosts_of


def _compared(ledger: Ledger, found: SavedPlans) -> t.Iterator[tuple[str, t.Mapping[str, t.Any]]]:
    """Yield the hosts of this cluster that must agree, with their records."""
    for host, record in found.records.items():
        if record["cluster"] == ledger.cluster and not {host, ALL} & set(found.renumber):
            yield host, record


def _strangers(cluster: str, found: SavedPlans) -> list[str]:
    """Return a problem for each other cluster to which hosts belong."""
    nodes: dict[str, list[str]] = {}
    for host, record in found.records.items():
        nodes.setdefault(record["cluster"], []).append(host)
    pairs: dict[str, list[str]] = {}
    for host, name in found.pairs.items():
        pairs.setdefault(name, []).append(host)
    return [
        f"of cluster {other!r}, {some_of(hosts, MOST_NODES)} {what}, and overlay_cluster is {cluster!r}: correct the "
        f"inventory, or remove them first ({playbook} with the inventory of {other!r}), or take them over: "
        f"-e overlay_take_over={other}"
        for members, what, playbook in (
            (nodes, "are nodes", "tke.overlay.reset"),
            (pairs, "carry the load balancer", "tke.overlay.clb_release"),
        )
        for other, hosts in members.items()
        if other != cluster and other not in found.take_over
    ]


def _contradictions(ledger: Ledger, found: SavedPlans) -> dict[Contradiction, list[str]]:
    """Return each contradiction with the hosts that know of it."""
    planned = {name: Peer(name, held.node_cidr, "") for name, held in ledger.nodes.items()}
    former = ledger.releases()
    known_by: dict[Contradiction, list[str]] = {}
    fleets: dict[str, dict[str, Peer]] = {}  # hosts that are up to date have the same text
    for host, record in _compared(ledger, found):
        own, text = Peer(record["node"], record["node_cidr"], record["underlay"]), record["fleet"]
        if text not in fleets:
            fleets[text] = _fleet(text)
        for each in contradictions(host, SavedPlan(own, fleets[text]), planned, former):
            known_by.setdefault(each, []).append(host)
    return known_by


def _fleet(text: str) -> dict[str, Peer]:
    """Return the nodes of a saved fleet; none if the file was edited."""
    try:
        return parse_fleet(text)
    except ValidationError:
        return {}


def _sentence(found: Contradiction, hosts: t.Sequence[str]) -> str:
    there = f"the plan gives it {found.planned}" if found.planned else "it is not in the ledger"
    return f"node {found.name} has {found.saved}, and {there} (known by {some_of(hosts, MOST_HOSTS)})"


def _reason(where: str, is_new: bool, contradicted: bool) -> str:
    what = (
        f"there is no ledger at {where}, and the hosts are nodes already: it was lost, or overlay_ledger or the "
        f"inventory (-i) is not the one of this cluster"
        if is_new
        else f"the ledger {where} contradicts the hosts: it is an outdated copy, or it replaced a lost one"
        if contradicted
        else f"the ledger {where} is older than what hosts have applied, or of another branch: it is an outdated copy "
        f"(a restored backup or snapshot, another clone), or it replaced a lost one"
    )
    rebuild = "" if is_new else "move it aside and "
    return (
        f"{what}. No host was changed and the ledger was not written. Restore the current ledger (version control, "
        f"a backup, a previous version), or {rebuild}read it back from the hosts: ansible-playbook "
        f"tke.overlay.rebuild_ledger"
    )


def _way_back(ledger: Ledger) -> str:
    return (
        f"if there is no better copy, and nodes were released since this one was made, only the hosts know that: read "
        f"it back from them. If no node was released since, this ledger can be used: "
        f"-e overlay_older_ledger={_version_of(ledger)}"
    )


def _way_out(known_by: t.Mapping[Contradiction, t.Sequence[str]]) -> str:
    hosts = list(dict.fromkeys(host for hosts in known_by.values() for host in hosts))
    names = ",".join(hosts) if len(hosts) <= MOST_HOSTS else ALL
    return (
        f"only if the Pods of these nodes may lose their addresses, apply the plan nevertheless: "
        f"-e overlay_renumber={names}. A host that was cloned or renamed: tke.overlay.reset -e overlay_reset=HOST"
    )
