# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare everything that Kubernetes records about the network with the ledger, and publish what it lacks."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import (
    api_service,
    node_record,
    proxy_settings,
    servers,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import Change
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import Api, ApiError
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be published. ``service`` is the VIP for the Service ``kubernetes``, ``None`` to leave it alone.

    ``endpoint`` is ``None`` without a load balancer: then no server is compared. ``network`` is what the settings of
    kube-proxy are compared with.
    """

    ledger: node_record.LedgerNodes
    endpoint: servers.Endpoint | None = None
    service: api_service.Vip | None = None
    update: t.Sequence[str] = ()
    network: proxy_settings.PodNetwork | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the API has, and the changes that it needs."""

    rows: t.Sequence[node_record.NodeRow]
    servers: t.Sequence[servers.ServerRow]
    changes: t.Sequence[Change]
    proxy: proxy_settings.ProxyRow | None = None


def compare(api: Api, wanted: Wanted) -> Comparison:
    """Read everything and compare it. Nothing is changed.

    :raises ValidationError: names everything that contradicts, of all objects at once.
    :raises ApiError: the server cannot be reached, or refuses to be read.
    """
    problems: list[str] = []
    changes: list[Change] = []
    rows: list[node_record.NodeRow] = []
    found: list[servers.ServerRow] = []
    nodes = api.nodes()
    try:
        rows, changes = node_record.compare(wanted.ledger, nodes, api.address)
    except ValidationError as error:
        problems += error.problems
    if wanted.endpoint is not None:
        try:
            found, more = servers.compare(api, wanted.endpoint, wanted.update)
            changes += more
        except ApiError:
            raise
        except ValidationError as error:
            problems += error.problems
    if wanted.service is not None:
        try:
            changes += api_service.compare(api, wanted.service)
        except ApiError:
            raise
        except ValidationError as error:
            problems += error.problems
    if problems:
        raise ValidationError(*problems)
    proxy = proxy_settings.compare(api, wanted.network) if wanted.network is not None else None
    return Comparison(rows, found, changes, proxy)


def publish(api: Api, changes: t.Sequence[Change]) -> list[str]:
    """Make the changes, and return notes for the user.

    :raises ApiError: names what was refused, and how many changes were made before.
    """
    notes: list[str] = []
    for done, change in enumerate(changes):
        try:
            notes += change.apply(api)
        except ApiError as error:
            if not done:
                raise
            made = f"{done} of {len(changes)} changes of Kubernetes were made before"
            raise ApiError(f"{error}; {made}, and the next run makes the others") from error
    return notes
