# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what a host's own saved state says of it and of the fleet, for when the ledger is lost."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_NOTE,
    FLEET_FILE,
    STATE,
    SUMMARY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings, saved_summary


class SavedRecord(t.TypedDict):
    """What one host says. ``view`` names what it knows of all nodes: hosts with one view have the same fleet."""

    node: str
    cluster: str
    node_cidr: str
    underlay: str
    port: int
    container_cidr: list[str]
    service_cidr: str
    mtu: int
    api: str  # the address of the load balancer's VIP for the API servers, if the host knows one
    view: str
    fleet: str


def read_saved() -> SavedRecord | None:
    """The saved state, or ``None`` where the host was never a node of an overlay, or was taken out.

    :raises ValidationError: there is one, and it is not whole.
    """
    texts = read_files([SUMMARY, FLEET_FILE, ENDPOINT_NOTE])
    if not {SUMMARY, FLEET_FILE} & texts.keys():
        return None
    summary, settings = saved_summary(), saved_settings()
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
        )
    except (KeyError, ValueError) as error:
        raise ValidationError(
            f"the saved state {STATE} of this host is not whole ({error}): run tke.overlay.site on it"
        ) from error
