# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a plan with the one that this host has applied, before anything changes.

A host that has applied a plan knows which cluster and which node CIDR it has, and
those of all other nodes. It rejects a plan from a ledger that does not know them:
one that replaced a lost one, an outdated copy, or another cluster's.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    Contradiction,
    NodeDocument,
    Peer,
    SavedPlan,
    contradictions,
    parse_fleet,
    parse_former,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import FLEET_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_summary
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import LEDGER_LINE, is_unknown, newest

ALL = "all"
"""Stands for every host."""

MOST_NODES = 10
"""Nodes that the error names; the others are counted."""


class Accepted(t.NamedTuple):
    """What the user accepts: hosts that may get another node CIDR, and clusters whose hosts may change to this one."""

    renumber: t.Sequence[str] = ()
    take_over: t.Sequence[str] = ()


NOTHING = Accepted()


def check_cluster(cluster: str, take_over: t.Container[str]) -> bool:
    """Return whether this host has applied a plan of this cluster.

    :raises ValidationError: it has applied a plan of another cluster that is not in ``take_over``.
    """
    saved = saved_summary()
    other = saved.get("cluster", cluster)
    if other != cluster and other not in take_over:
        raise ValidationError(
            f"this host is node {saved.get('node')} of cluster {other!r}, and overlay_cluster is {cluster!r}: correct "
            f"the inventory, or remove the overlay first (tke.overlay.reset with the inventory of {other!r}), or take "
            f"the host over: -e overlay_take_over={other}"
        )
    return other == cluster and "node_cidr" in saved


def check_plan(document: NodeDocument, accepted: Accepted) -> None:
    """Raise an error if a plan contradicts the one that this host has applied.

    :raises ValidationError: nothing was changed.
    """
    host = document["node"]
    if not check_cluster(document["cluster"], accepted.take_over) or {host, ALL} & set(accepted.renumber):
        return
    summary, planned = saved_summary(), parse_fleet(document["fleet"])
    own = Peer(summary.get("node", host), summary["node_cidr"], "")
    former = document.get("former")
    # A plan without that record says nothing about the release of other nodes.
    fleet = {} if former is None else _saved_fleet()
    found = contradictions(host, SavedPlan(own, fleet), planned, parse_former(former or ""))
    applied, versions = summary.get(LEDGER_LINE, ""), document.get("ledger_versions", "")
    if versions and not found and is_unknown(applied, versions):
        raise ValidationError(
            f"this host has applied ledger version {applied}, and the plan has {newest(versions)}, which is older or "
            f"of another branch. Nothing was changed. If another run has changed the ledger meanwhile, run the "
            f"playbook again. Otherwise the ledger is an outdated copy: restore the current one; or move it "
            f"aside and read it back from the hosts (tke.overlay.rebuild_ledger); or, if no node was released since, "
            f"use it: -e overlay_older_ledger={newest(versions)}"
        )
    if found:
        raise ValidationError(
            f"the plan contradicts what this host has applied: "
            f"{some_of([_sentence(each) for each in found], MOST_NODES, '; ')}. Nothing was changed. The ledger was "
            f"lost or is an outdated copy: restore the current one, or read it back from the hosts "
            f"(tke.overlay.rebuild_ledger). If this host was cloned or renamed, run tke.overlay.reset -e "
            f"overlay_reset={host}. Only if Pods may lose their addresses: -e overlay_renumber={host}"
        )


def _saved_fleet() -> dict[str, Peer]:
    """Return the nodes of the saved plan; none if the file is missing or was edited."""
    try:
        return parse_fleet(read_files([FLEET_FILE]).get(FLEET_FILE, ""))
    except ValidationError:
        return {}


def _sentence(found: Contradiction) -> str:
    there = f"the plan gives it {found.planned}" if found.planned else "it is not in the plan"
    return f"node {found.name} has {found.saved}, and {there}"
