# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converge one host: make it what its document describes.

:func:`converge` shows the order: validate, read, compare, prepare (stage the way
back and set its timer), change (drop-ins, kernel, verification), commit (check the
API endpoint, save). A failure after the first change rolls the host back.

A confirmed commit ends later: the controller confirms it over a new connection, and
then the host saves it (see :mod:`confirmed_commit`). What is saved last is also what
the restore timer maintains.
"""

from __future__ import annotations

import functools
import os
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files as host_files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.api_endpoint import (
    ApiEndpoint,
    await_endpoint,
    connection_error,
    recorded_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    Confirmation,
    StagedFiles,
    arm,
    confirm,
    exclusive_change,
    rolled_back_on_failure,
    stage,
    validate_timeout,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.snapshot import snapshot
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    FileSpecs,
    put_file,
    write_file,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    Row,
    check_conflicts,
    find_link,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import check_foreign_routes
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import NO_DIFFERENCE, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import commands_to_restore
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import NOTHING, Accepted, check_plan
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import (
    NodeResult,
    compare,
    read_actual,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import (
    FINALIZE,
    PREPARE,
    Cutover,
    former_links,
    step_of,
    take_step,
    transitional_target,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.kernel_change import change_kernel, verify
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import (
    link_mtu_problems,
    on_link_peers,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.running_pods import check_no_pods
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import (
    INTERVAL,
    Target,
    build_target,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import (
    REQUIRED,
    CniPlugins,
    plugin_directories,
    read_plugins,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_commands, reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.interpreter import stable_python
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import save_together
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import NO_METRICS, MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    apply_units,
    read_host,
    unit_commands,
)


def _do_nothing() -> None:
    """Stand in for ``before_change`` of a run that needs no notice."""


class ConvergeOptions(t.NamedTuple):
    """How a run changes a host."""

    interval: int = INTERVAL
    """Seconds between two runs of the restore timer."""

    phase: str = FINALIZE
    """How far to go if other hosts must change as well, see :mod:`cutover`."""

    confirmation: Confirmation | None = None
    """How a change of the kernel's state is confirmed; ``None``: it is saved at once."""

    before_change: t.Callable[[], None] = _do_nothing
    """Called right before the first change of a confirmed commit."""

    accepted: Accepted = NOTHING
    """What may contradict the plan that the host has applied, see :mod:`applied_plan`."""

    replace_flannel: bool = False
    """Replace the routes of flannel to the peers."""

    unreached: t.Collection[str] = ()
    """Nodes that the phases before have not reached: this host sends to them as before, if a link has changed."""

    pods: bool = True
    """Whether the host has Pods, see :mod:`running_pods`."""

    cni_bin_dirs: t.Sequence[str] = ()
    """Where the container runtime looks for CNI plugins; empty: find out."""

    metrics: MetricsSpec = NO_METRICS
    """Where and how the host writes metrics."""


class _PreparedCommit(t.NamedTuple):
    """A change that is prepared and not saved yet."""

    confirmation: Confirmation
    endpoint: ApiEndpoint | None  # must be reachable after the change as well
    warnings: t.Sequence[str]
    started: float  # monotonic seconds
    pending: bool  # the controller confirms it, or a timer of systemd rolls it back

    @property
    def elapsed(self) -> float:
        """Seconds since the change started."""
        return time.monotonic() - self.started


DEFAULTS = ConvergeOptions()


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
        host = host._replace(cni=read_plugins(options.cni_bin_dirs, run))
    if options.metrics.directory:
        host = host._replace(metrics=_completed(options, host.cni, run))
    host = host._replace(on_link=on_link_peers(document, run))
    target = build_target(document, host, options.interval, pods=options.pods)
    check_plan(document, options.accepted)
    replace = options.replace_flannel
    if check:
        target.wireguard.keyless = True
        difference = _difference(target, run, replace)
        former_links(target, difference)
        return difference
    with rolled_back_on_failure(confirmation.token, run):
        with exclusive_change(run):
            difference = _difference(target, run, replace)
            links = former_links(target, difference)
            build = functools.partial(build_target, document, host, options.interval, pods=options.pods)
            cutover = Cutover(options.phase, options.unreached)
            transitional = transitional_target(target, cutover, links, build)
            if transitional is not None and options.phase != PREPARE:
                target = transitional
                difference = _difference(target, run, replace)
            step = step_of(options.phase, transitional, target, difference)
            if step.unfinished and (links or (transitional is not None and transitional.wireguard.specs)):
                _put_drop_ins(target, difference, run)
            take_step(step, target, difference, run)
            if step.unfinished:
                return difference._replace(unfinished=True)
            if not difference.kernel:
                _save_files(target, difference, run)
                return difference
            prepared = _prepare(target, difference, confirmation, run)
            if prepared.pending:
                options.before_change()
            _put_drop_ins(target, difference, run)
            change_kernel(target, difference, run)
            verify(target, difference, run)
        return _commit(prepared, difference, run)


def _completed(options: ConvergeOptions, cni: CniPlugins, run: Run) -> MetricsSpec:
    """Return the specification of the metrics with what the host itself determines."""
    metrics = options.metrics
    return metrics._replace(
        python=stable_python(run),
        cni_dirs=metrics.cni_dirs or plugin_directories(options.cni_bin_dirs),
        cni_plugins=metrics.cni_plugins or [*REQUIRED, *cni.optional],
    )


# --- validate, read, compare ---


def _difference(target: Target, run: Run, replace_flannel: bool) -> NodeResult:
    """Read the host and compare it with the target; change nothing.

    :param replace_flannel: regard the routes of flannel to the peers as entries to change.
    :raises ValidationError: a foreign object is in the way, or Pods are.
    """
    if replace_flannel:
        target.tables.routes.former = target.flannel_gateways
    links = read_links(run)
    _check_underlay(target, links, run)
    target.wireguard.check(links, run)
    if not target.pods:
        check_no_pods(target.tables.bridge, links, run)
    actual = read_actual(target, links, run)
    check_foreign_routes(actual.tables[target.tables.routes.name], target.flannel_gateways)
    return compare(target, actual)


def _check_underlay(target: Target, links: t.Sequence[Row], run: Run) -> None:
    """Make sure that the VXLAN link can exist, and that the underlay carries the packets of all links.

    :raises ValidationError: names everything that is in the way.
    """
    problems: list[str] = []
    peers = target.underlays
    # Without a VXLAN link, nothing is sent by the device, so its MTU needs nothing of the underlay.
    link = target.link if peers or not target.links.peers else target.link._replace(mtu=None)
    try:
        check_conflicts(link, links, run, peers=peers)
    except ValidationError as error:
        problems += error.problems
    problems += link_mtu_problems(target.links, links, run)
    if problems:
        raise ValidationError(*problems)


# --- prepare ---


def _prepare(target: Target, difference: NodeResult, confirmation: Confirmation, run: Run) -> _PreparedCommit:
    """Stage the files of both outcomes and set the timer that rolls the change back; change nothing else."""
    pending = confirmation.wanted and target.host.systemd
    endpoint, warnings = _reachable_endpoint() if confirmation.wanted else (None, [])
    links = read_links(run)
    row = find_link(target.link.name, links)
    sysctls = {diff.name: diff.before for diff in difference.sysctls if diff.before}
    before = snapshot(target.saved, row, difference.tables, sysctls, run)
    undo = target.wireguard.undo(difference.tables.get(target.wireguard.name, NO_DIFFERENCE))
    before = before._replace(removals=[*undo, *before.removals], afterwards=commands_to_restore(links, target.pods))
    stage(confirmation, _staged_files(target, difference), before)
    prepared = _PreparedCommit(confirmation, endpoint, warnings, time.monotonic(), pending)
    if pending:
        arm(confirmation, run)
    return prepared


def _reachable_endpoint() -> tuple[ApiEndpoint | None, list[str]]:
    """Return the API endpoint if it must be reachable after the change, and a warning if it is unreachable already."""
    endpoint = recorded_endpoint()
    fault = None if endpoint is None else connection_error(endpoint)
    if fault is None:
        return endpoint, []
    return None, [
        f"the API endpoint {endpoint} was unreachable before the change, so it was not checked after it: {fault}"
    ]


def _staged_files(target: Target, difference: NodeResult) -> StagedFiles:
    names = difference.file_names
    return StagedFiles(
        new={name: text for name, text in target.all_files.items() if name in names},
        last=[CNI_FILE],
        temporary=[_temporary_path(name) for name in target.drop_ins if name in names],
        commands=[*unit_commands(names, target.host), *reload_commands(names, target.host)],
    )


def _temporary_path(drop_in: str) -> str:
    """Return the path below ``/run`` where a drop-in is valid until the next boot: each of those programs has one."""
    return drop_in.replace("/etc/", "/run/", 1)


# --- change ---


def _put_drop_ins(target: Target, difference: NodeResult, run: Run) -> None:
    """Write the drop-ins so that they exist before the device does, and not after a reboot before the confirmation.

    A file in ``/etc`` hides the file of the same name below ``/run``, so an existing one is replaced itself. Drop-ins
    that must not exist are removed when the change is saved.
    """
    names = set(difference.file_names)
    texts = {name: text for name, text in target.drop_ins.items() if text is not None and name in names}
    for name, text in texts.items():
        exists = os.path.exists(host_files.ROOT + name)
        write_file(name if exists else _temporary_path(name), text, durable=False)
    reload_managers(texts, target.host, run)


# --- commit ---


def _commit(prepared: _PreparedCommit, difference: NodeResult, run: Run) -> NodeResult:
    """Check the API endpoint; then save the change, or leave the confirmation to the controller."""
    result = difference._replace(warnings=prepared.warnings)
    seconds = prepared.confirmation.seconds
    if prepared.endpoint is not None:
        # The last third of the time is for the controller.
        await_endpoint(prepared.endpoint, seconds * 2 / 3 - prepared.elapsed)
    if prepared.pending:
        return result._replace(seconds_to_confirm=seconds - prepared.elapsed)
    confirm(prepared.confirmation.token, run)
    return result


def _save_files(target: Target, difference: NodeResult, run: Run) -> None:
    """Write the files at once: the kernel's state does not differ, so there is nothing to confirm."""
    if difference.changed:
        names = difference.file_names
        _put_files(target.drop_ins, names)
        reload_managers(names, target.host, run)
        saved = {
            name: text for name, text in target.files.items() if text is not None and os.path.dirname(name) == STATE
        }
        save_together({name: text for name, text in saved.items() if name in names})
        _put_files({name: text for name, text in target.files.items() if name not in {CNI_FILE, *saved}}, names)
        apply_units(names, target.host, run)
        _put_files({CNI_FILE: target.files[CNI_FILE]}, names)


def _put_files(texts: FileSpecs, names: t.Sequence[str]) -> None:
    for name, text in texts.items():
        if name in names:
            put_file(name, text)
