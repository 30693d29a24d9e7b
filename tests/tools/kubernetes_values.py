# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The table of values in the collection's docs/kubernetes.md, from the code that writes them (see tables.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import settings  # noqa: E402
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.documents import (  # noqa: E402
    Arguments,
    documents_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.reasons import REASONS  # noqa: E402

PAGE = COLLECTIONS / "ansible_collections/tke/overlay/docs/kubernetes.md"
BEGIN, END = "<!-- begin values -->\n", "<!-- end values -->"
HEADER = "| value | kubeadm | k3s and RKE2 | why |\n|---|---|---|---|\n"
NAMES = {settings.KUBEADM: "kubeadm", settings.K3S: "k3s", settings.RKE2: "RKE2"}

Places = dict[str, dict[str, None]]
"""Reason -> the places of the values that have it, in order."""


def _walk(fields: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield the reason and the place of each value."""
    for name, field in fields.items():
        where = f"{path}.{name}" if path else name
        where = where.removeprefix("controlPlane.").removeprefix("discovery.")
        if isinstance(field, dict):
            yield from _walk(field, where)
        elif isinstance(field, Arguments):
            yield from ((each.about, f"`{where}` `{flag}`") for flag, each in field.items)
        else:
            yield field.about, f"`{where}`"


def _prefix(document: str) -> str:
    """Return the kind of a document, where it matters: the same fields of a host are in two kinds."""
    return document if document in ("ClusterConfiguration", "KubeProxyConfiguration", "KubeletConfiguration") else ""


def _places(distribution: str) -> Places:
    """Return the places of all values that a distribution can have."""
    endpoint = settings.Endpoint("api.demo.internal", 7443, "10.0.2.8", [settings.SUPERVISOR_PORT])
    secrets = settings.JoinSecrets("token", ["hash"], "key")
    found: Places = {}
    for cidrs in (["10.244.0.0/16"], ["10.244.0.0/16", "10.9.0.0/16"]):
        values = settings.ClusterValues(
            *(distribution, endpoint, cidrs, "10.244.255.0/24", 253, 110, "10.244.255.10", ["api.demo.internal"]),
            own_service=True,
            proxy_mode="nftables",
            secrets=secrets,
        )
        for role in (settings.FIRST, settings.SERVER, settings.NODE):
            for document in documents_of(values, settings.Member("a", "a", "10.0.1.21", role)):
                for about, place in _walk(document.fields, _prefix(document.name)):
                    found.setdefault(about, {})[place] = None
    return found


def _of_rancher(about: str, k3s: Places, rke2: Places) -> str:
    """Return the places in the files of k3s and RKE2; with the name of one that has it alone."""
    places = []
    for place in {**k3s.get(about, {}), **rke2.get(about, {})}:
        only = [NAMES[name] for name, of in ((settings.K3S, k3s), (settings.RKE2, rke2)) if place in of.get(about, {})]
        places.append(place if len(only) > 1 else f"{place} ({only[0]})")
    return ", ".join(places)


def table() -> str:
    """Return the table."""
    kubeadm, k3s, rke2 = (_places(distribution) for distribution in settings.DISTRIBUTIONS)
    rows = [
        f"| {reason.what} | {', '.join(kubeadm.get(about, {}))} | {_of_rancher(about, k3s, rke2)} | {reason.why} |\n"
        for about, reason in REASONS.items()
    ]
    return HEADER + "".join(rows)


def wanted(text: str) -> str:
    """Return the text of the page with the present table."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2]
