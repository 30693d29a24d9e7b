# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of the Pods' network have in common: the network of a host, and a finding."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument, gateway_address, pod_range
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings, saved_summary

FLEET = f"{STATE}/fleet"

BAD, WARNING, NOTE = "bad", "warn", "note"
"""Severities: Pods cannot talk, or cannot start; they do not start later; there are no Pods yet, and something that
they need is missing, or something is only worth knowing."""


class PodFinding(t.NamedTuple):
    """What prevents Pods of this host from talking, and the remedy: a clause or a command.

    ``check`` is a keyword for programs.
    """

    check: str
    text: str
    remedy: str
    severity: str = BAD

    @property
    def sentence(self) -> str:
        """The finding and its remedy in one text."""
        return f"{self.text}. {'' if self.remedy[:1].isupper() else 'To correct it: '}{self.remedy}"


class PodNetwork(t.NamedTuple):
    """The Pod network of one host."""

    device: str
    bridge: str
    port: int
    node_cidr: str
    container_cidrs: t.Sequence[str]
    peer_cidr: str | None = None  # of any other node, as the target of a packet
    bin_dirs: t.Sequence[str] = ()  # of the CNI plugins; empty: find out
    linked: bool = False  # whether the plan has links; otherwise all packets to other nodes leave by the device
    local: str = ""  # the underlay address

    @property
    def gateway(self) -> str:
        """The address of the Pod bridge."""
        return gateway_address(self.node_cidr)

    @property
    def pod(self) -> str:
        """An address of a Pod of this host."""
        return pod_range(self.node_cidr)[0]

    @property
    def far_pod(self) -> str | None:
        """An address of a Pod of another node."""
        return pod_range(self.peer_cidr)[0] if self.peer_cidr else None


def planned_network(document: NodeDocument, bin_dirs: t.Sequence[str] = ()) -> PodNetwork:
    """Return the Pod network of the host ``document["node"]``, which is in the plan."""
    own, local = next(
        line.split()[1:3] for line in document["fleet"].splitlines() if line.split()[0] == document["node"]
    )
    return PodNetwork(
        device=document["device"],
        bridge=document["bridge"],
        port=document["port"],
        node_cidr=own,
        container_cidrs=document["container_cidr"],
        peer_cidr=_other_cidr(document["fleet"], own),
        bin_dirs=bin_dirs,
        linked="links" in document,
        local=local,
    )


def saved_network(bin_dirs: t.Sequence[str] = ()) -> PodNetwork | None:
    """Return the Pod network that was last applied on this host; ``None`` on a host that is no node."""
    settings, own = saved_settings(), saved_summary().get("node_cidr")
    port = settings.get("port", "")
    if not (own and settings.get("device") and settings.get("bridge")):
        return None
    return PodNetwork(
        device=settings["device"],
        bridge=settings["bridge"],
        port=int(port) if port.isdigit() else 0,
        node_cidr=own,
        container_cidrs=settings.get("cidrs", "").split(),
        peer_cidr=_other_cidr(read_files([FLEET]).get(FLEET, ""), own),
        bin_dirs=bin_dirs,
        linked="pod_mtu" in settings,
        local=settings.get("local", ""),
    )


def _other_cidr(fleet: str, own: str) -> str | None:
    """Return the node CIDR of the first node that is not this one."""
    return next((words[1] for words in map(str.split, fleet.splitlines()) if len(words) > 1 and words[1] != own), None)
