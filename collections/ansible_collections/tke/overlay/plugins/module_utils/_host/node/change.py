# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change a host: prepare (stage the way back and set its timer), change (drop-ins, kernel, verification), commit (check
the API endpoint, save).

:mod:`converge` imports this module only on a host that differs from its target.
"""

from __future__ import annotations

import functools
import os
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument
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
    stage,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.snapshot import snapshot
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    FileSpecs,
    put_file,
    remove_file,
    write_file,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import find_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import NO_DIFFERENCE, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import commands_to_restore
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import NodeResult
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import (
    Cutover,
    former_links,
    goes_back,
    step_of,
    take_step,
    transitional_target,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.difference import read_difference
from ansible_collections.tke.overlay.plugins.module_utils._host.node.kernel_change import change_kernel, verify
from ansible_collections.tke.overlay.plugins.module_utils._host.node.options import ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import CUTOVER, PREPARE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target, build_target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_commands, reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import save_together
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    PREPARED_NOTE,
    STATE,
    WIREGUARD_UNIT_FILE,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    apply_units,
    unit_commands,
)


class PreparedCommit(t.NamedTuple):
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

    def commit(self, difference: NodeResult, run: Run) -> NodeResult:
        """Check the API endpoint; then save the change, or leave the confirmation to the controller."""
        result = difference._replace(warnings=self.warnings)
        seconds = self.confirmation.seconds
        if self.endpoint is not None:
            # The last third of the time is for the controller.
            await_endpoint(self.endpoint, seconds * 2 / 3 - self.elapsed)
        if self.pending:
            return result._replace(seconds_to_confirm=seconds - self.elapsed)
        confirm(self.confirmation.token, run)
        return result


class Change(t.NamedTuple):
    """What a run is about to make of a host."""

    document: NodeDocument
    host: HostFacts
    target: Target
    options: ConvergeOptions
    confirmation: Confirmation


def change_host(change: Change, difference: NodeResult, run: Run) -> tuple[NodeResult, PreparedCommit | None]:
    """Make the host what its target describes, or take the step of a cutover that the phase allows.

    :param difference: what separates the host from the target.
    :returns: the difference that was made, and what is left to commit; ``None`` if nothing is.
    :raises ValidationError: a foreign object is in the way; nothing was changed.
    :raises KernelError: the kernel rejected a change or does not hold it.
    """
    options, target = change.options, change.target
    links = former_links(target, difference)
    build = functools.partial(build_target, change.document, change.host, options.interval, pods=options.pods)
    transitional = transitional_target(target, Cutover(options.phase, options.unreached), links, build)
    if transitional is not None and options.phase != PREPARE:
        target = transitional
        difference = read_difference(target, run, options.replace_flannel)
    if difference.changed and goes_back(options.phase, transitional):
        return difference._replace(unfinished=True, links=None), None
    step = step_of(options.phase, transitional, target, difference)
    if step.unfinished and (links or (transitional is not None and transitional.wireguard.specs)):
        _put_drop_ins(target, difference, run)
    take_step(step, target, difference, run)
    if step.unfinished:
        return difference._replace(unfinished=True, links=None), None
    if options.phase != CUTOVER:
        remove_file(PREPARED_NOTE)
    if not difference.kernel:
        _save_files(target, difference, run)
        return difference, None
    prepared = _prepare(target, difference, change.confirmation, run)
    if prepared.pending:
        options.before_change()
    _put_drop_ins(target, difference, run)
    change_kernel(target, difference, run)
    return difference._replace(links=verify(target, difference, run)), prepared


# --- prepare ---


def _prepare(target: Target, difference: NodeResult, confirmation: Confirmation, run: Run) -> PreparedCommit:
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
    prepared = PreparedCommit(confirmation, endpoint, warnings, time.monotonic(), pending)
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
    unread = set(texts)
    for name, text in texts.items():
        exists = os.path.exists(host_files.ROOT + name)
        if name == WIREGUARD_UNIT_FILE and not exists:
            unread.remove(name)  # systemd reads the file of a new unit when the unit is started
        write_file(name if exists else _temporary_path(name), text, durable=False)
    reload_managers(unread, target.host, run)


# --- files without a change of the kernel ---


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
