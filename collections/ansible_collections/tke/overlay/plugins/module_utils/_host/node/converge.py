# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge one host: make it what its document describes.

:func:`converge` shows the order: validate, read, compare, prepare (stage the way
back and set its timer), change (drop-ins, kernel, verification), commit (check the
API endpoint, save). The last three are in :mod:`change`. A failure after the first
change rolls the host back.

A confirmed commit ends later: the controller confirms it over a new connection, and
then the host saves it (see :mod:`confirmed_commit`). What is saved last is also what
the restore timer maintains.
"""

from __future__ import annotations

import os

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    Confirmation,
    exclusive_change,
    rolled_back_on_failure,
    validate_timeout,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import check_plan
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import offered_plugins
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult
from ansible_collections.tke.overlay.plugins.module_utils._host.node.difference import read_difference
from ansible_collections.tke.overlay.plugins.module_utils._host.node.options import DEFAULTS, ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import on_link_peers
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target, build_target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import (
    REQUIRED,
    CniPlugins,
    plugin_directories,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.interpreter import stable_python
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ANY_MAC_NOTE, PREPARED_NOTE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts, read_host


def converge(document: NodeDocument, run: Run, check: bool, options: ConvergeOptions = DEFAULTS) -> NodeResult:
    """Make this host what the document describes; with ``check`` only return what would change.

    Without a confirmation, or on a host without systemd, the change is saved before
    this function returns. Otherwise the change is pending when it returns, and
    :attr:`NodeResult.seconds_to_confirm` is the time until the host rolls it back.

    :raises ValidationError: the document or an option is invalid, or a foreign object is in the way; nothing was
        changed.
    :raises KernelError: the kernel rejected a change or does not hold it, or the API endpoint is unreachable. The host
        is as it was before, or the error names what is not.
    """
    confirmation = options.confirmation or Confirmation(f"process {os.getpid()}", 0)
    validate_timeout(confirmation.seconds)
    host = read_host(run)
    if options.pods:
        host = host._replace(cni=offered_plugins(options.cni_bin_dirs, run))
    if options.metrics.directory:
        host = host._replace(metrics=_completed(options, host.cni, run))
    host = host._replace(on_link=on_link_peers(document, run))
    if check:
        target = _accepted_target(document, host, options)
        target.wireguard.keyless = True
        difference = read_difference(target, run, options.replace_flannel)
        if difference.changed:
            from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import (  # noqa: PLC0415 - as below
                former_links,
            )

            former_links(target, difference)
        return difference
    with rolled_back_on_failure(confirmation.token, run):
        with exclusive_change(run):
            # Not before: the run that this one has waited for may have applied a later plan.
            target = _accepted_target(document, host, options)
            difference = read_difference(target, run, options.replace_flannel)
            notes = (ANY_MAC_NOTE, PREPARED_NOTE)
            if not (difference.changed or any(os.path.exists(files.ROOT + note) for note in notes)):
                return difference
            # An unchanged run is the usual one, and Python compiles a module at each import on a host.
            from ansible_collections.tke.overlay.plugins.module_utils._host.node.change import (  # noqa: PLC0415
                Change,
                change_host,
            )

            change = Change(document, host, target, options, confirmation)
            difference, prepared = change_host(change, difference, run)
        return difference if prepared is None else prepared.commit(difference, run)


def _accepted_target(document: NodeDocument, host: HostFacts, options: ConvergeOptions) -> Target:
    """Return what the host must become, unless the plan that it has applied forbids that."""
    target = build_target(document, host, options.interval, pods=options.pods)
    check_plan(document, options.accepted)
    return target


def _completed(options: ConvergeOptions, cni: CniPlugins, run: Run) -> MetricsSpec:
    """Return the specification of the metrics with what the host itself determines."""
    metrics = options.metrics
    return metrics._replace(
        python=stable_python(run),
        cni_dirs=metrics.cni_dirs or plugin_directories(options.cni_bin_dirs),
        cni_plugins=metrics.cni_plugins or [*REQUIRED, *cni.optional],
    )
