# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a host has saved about itself and all other nodes, from which a lost ledger is rebuilt."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Reader, read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import is_as_applied
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_NOTE,
    FLEET_FILE,
    PAIR_CHECKSUMS,
    PAIR_CLUSTER_FILE,
    SETTINGS,
    STATE,
    SUMMARY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings, saved_summary
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import LEDGER_LINE
from ansible_collections.tke.overlay.plugins.module_utils._links import links_of


class LinkRecord(t.TypedDict, total=False):
    """What a host has saved of the links, in a cluster that has some."""

    links: str  # those of its own site, see :meth:`_links.LinkTable.of_one_site`
    wireguard_generation: int
    wireguard_port: int


class SavedRecord(LinkRecord):
    """The record of one host. ``view`` is a checksum of its fleet: hosts with the same view have the same fleet."""

    node: str
    cluster: str
    node_cidr: str
    underlay: str
    port: int
    container_cidr: list[str]
    service_cidr: str
    mtu: int
    api: str  # the VIP of the API servers, empty without an API endpoint
    view: str
    fleet: str
    ledger_version: str  # of the plan that it has applied, see _ledger_version; empty if the plan had none


RECORD_FILES = (SUMMARY, SETTINGS, FLEET_FILE, ENDPOINT_NOTE, PAIR_CHECKSUMS, PAIR_CLUSTER_FILE)
"""The files that :func:`read_saved` and :func:`pair_cluster` read."""


def read_saved(read: Reader = read_files) -> SavedRecord | None:
    """Return the record, or ``None`` on a host that is not a node of an overlay.

    :param read: reads the files; those of another host, where the controller has fetched them.
    :raises ValidationError: the saved state is incomplete.
    """
    texts = read([SUMMARY, FLEET_FILE, ENDPOINT_NOTE])
    if not {SUMMARY, FLEET_FILE} & texts.keys():
        return None
    summary, settings = saved_summary(read), saved_settings(read)
    fleet = texts.get(FLEET_FILE, "")
    try:
        return SavedRecord(
            node=summary["node"],
            cluster=summary["cluster"],
            node_cidr=summary["node_cidr"],
            underlay=settings["local"],
            port=int(settings["port"]),
            container_cidr=settings["cidrs"].split(),
            service_cidr=summary["Service range"],
            mtu=int(settings["mtu"]),
            api=texts.get(ENDPOINT_NOTE, "").strip().rpartition(":")[0].strip("[]"),
            view=hashlib.sha256(fleet.encode()).hexdigest()[:12],
            fleet=fleet,
            ledger_version=summary.get(LEDGER_LINE, ""),
            **_links_of(summary),
        )
    except (KeyError, ValueError) as error:
        raise ValidationError(
            f"the saved state {STATE} of this host is incomplete ({error}): run tke.overlay.site on it"
        ) from error


def _links_of(summary: t.Mapping[str, str]) -> LinkRecord:
    record = LinkRecord()
    if LINKS_LINE in summary:
        record["links"] = summary[LINKS_LINE]
    if KEYS_LINE in summary:
        words = summary[KEYS_LINE].split(" ")
        keys = dict(zip(words[::2], map(int, words[1::2])))
        record["wireguard_generation"] = keys["generation"]
        if "port" in keys:  # hosts with an earlier state have none
            record["wireguard_port"] = keys["port"]
    return record


def link_lines(document: NodeDocument, site: str) -> dict[str, str]:
    """Return the lines of the summary that :func:`read_saved` needs of a plan with links; none without.

    :param site: that of the host.
    """
    if "links" not in document:
        return {}
    generation, port = document.get("wireguard_generation"), document.get("wireguard_port")
    keys = {} if generation is None else {KEYS_LINE: f"port {port} generation {generation}"}
    return {LINKS_LINE: links_of(document).of_one_site(site), **keys}


LINKS_LINE = "links of the site"
KEYS_LINE = "WireGuard keys"


def pair_cluster(read: Reader = read_files) -> str:
    """Return the cluster whose load balancer this host carries; empty if it carries none.

    A damaged file is no cluster: the next run of the module clb writes it again.
    """
    if not is_as_applied(PAIR_CHECKSUMS, PAIR_CLUSTER_FILE, read):
        return ""
    return read([PAIR_CLUSTER_FILE])[PAIR_CLUSTER_FILE].strip()


def saved_result(fleet: bool, read: Reader = read_files) -> dict[str, t.Any]:
    """Return the result of the module saved_state.

    :param fleet: whether to return the text of the fleet, which is large with many nodes.
    :raises ValidationError: the saved state is incomplete.
    """
    saved = read_saved(read)
    result = {"changed": False, "clb_cluster": pair_cluster(read)}
    if saved is None:
        return {**result, "saved": {}}
    return {**result, "saved": saved if fleet else {**saved, "fleet": ""}}
