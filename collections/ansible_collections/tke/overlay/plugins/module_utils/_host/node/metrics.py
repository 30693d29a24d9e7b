# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that the metrics of a node need: those of the restore script and those of the probe timer."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    NodeDocument,
    plan_id,
    vtep_address,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.files import FileSpecs, read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni_checks import KUBERNETES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import HostLinks
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.programs import ROUND_PY
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.round import (
    ProbeConfig,
    ProbePeer,
    config_text,
    parse_config,
    parse_peer,
    peer_line,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import ring
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import (
    NodeLabels,
    metrics_commands,
    node_metrics,
    script_settings,
    written_files,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import (
    NO_METRICS,
    MetricsSpec,
    directory_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    METRICS_SCRIPT,
    METRICS_STATE_FILES,
    METRICS_TEXT,
    PROBE_PEERS,
    PROBE_PROGRAM,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import METRICS_SH
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings, saved_summary
from ansible_collections.tke.overlay.plugins.module_utils._links import WIREGUARD

if t.TYPE_CHECKING:
    from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import WireguardSpec

UNKNOWN_SITE = "unknown"
"""The site of a node of the plan that the inventory of the run does not have."""


def metrics_files(
    document: NodeDocument,
    links: HostLinks,
    metrics: MetricsSpec,
    bridge: str,
    wireguard: t.Sequence[WireguardSpec] = (),
) -> FileSpecs:
    """Return the files besides the units, by path; ``None`` for those that the host must not have.

    A file of metrics that the host does not write any more would report the state of that time for ever.

    :param bridge: the Pod bridge; empty: this host has no Pods.
    :param wireguard: the devices, two of them while keys change.
    """
    former = saved_settings().get("metrics_dir", "")
    stale: FileSpecs = dict.fromkeys(written_files(former)) if former != metrics.directory else {}
    if not metrics.directory:
        return {**dict.fromkeys(METRICS_STATE_FILES), **stale}
    own = links.own
    labels = NodeLabels(
        cluster=document["cluster"],
        node=own.name,
        node_cidr=own.node_cidr,
        site=metrics.sites.get(own.name, UNKNOWN_SITE),
        plan=plan_id(document),
        device=document["device"],
        bridge=bridge,
        device_mtu=links.vxlan_mtu,
        bridge_mtu=links.pod_mtu,
        wireguard=[(each.name, each.mtu, len(each.peers)) for each in wireguard],
    )
    return {
        METRICS_TEXT: WRITTEN_BY + metrics_commands(WRITTEN_BY + node_metrics(labels, len(links.peers))),
        METRICS_SCRIPT: METRICS_SH,
        PROBE_PROGRAM: WRITTEN_BY + ROUND_PY,
        PROBE_PEERS: WRITTEN_BY + config_text(_probe_config(links, metrics, labels.site)),
        **stale,
    }


def _probe_config(links: HostLinks, metrics: MetricsSpec, site: str) -> ProbeConfig:
    peers = {each.peer.name: each for each in links.peers}
    sites: dict[str, list[str]] = {}
    for name in [links.own.name, *peers]:
        sites.setdefault(metrics.sites.get(name, UNKNOWN_SITE), []).append(name)
    nodes = ring(sites)
    position = nodes.index(links.own.name)
    return ProbeConfig(
        directory=metrics.directory,
        interval=metrics.probe_interval,
        site=site,
        source=vtep_address(links.own.node_cidr),
        peers=[
            peer_line(
                ProbePeer(
                    name,
                    metrics.sites.get(name, UNKNOWN_SITE),
                    vtep_address(peers[name].peer.node_cidr),
                    peers[name].link.mtu,
                    peers[name].transport == WIREGUARD,
                )
            )
            for name in [*nodes[position + 1 :], *nodes[:position]]
        ],
    )


def metrics_settings(metrics: MetricsSpec, wireguard: t.Sequence[WireguardSpec] = ()) -> dict[str, str]:
    """Return what the restore script must know to write metrics; empty if it writes none."""
    if not metrics.directory:
        return {}
    return script_settings(metrics, CNI_FILE, KUBERNETES, [each.name for each in wireguard])


def saved_metrics() -> MetricsSpec:
    """Return the specification that was last applied on this host."""
    settings = saved_settings()
    text = read_files([PROBE_PEERS]).get(PROBE_PEERS, "")
    try:
        config = parse_config(text)
        sites = {peer.name: peer.site for peer in map(parse_peer, config.peers)}
    except (ValueError, TypeError):  # missing or damaged, which the checksums show
        return NO_METRICS
    return MetricsSpec(
        directory=settings.get("metrics_dir", config.directory),
        probe_interval=config.interval,
        sites={**sites, saved_summary().get("node", ""): config.site},
        cni_dirs=[path for path in settings.get("cni_dirs", "").split(":") if path],
        cni_plugins=settings.get("cni_plugins", "").split(),
    )


def metrics_drift() -> t.Iterator[str]:
    """Yield a sentence if this host cannot write its metrics."""
    directory = saved_settings().get("metrics_dir", "")
    if directory:
        yield from (f"metrics are not written: {problem}" for problem in directory_problems(directory))
