# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure how one host reaches the API server: names, route and kubeconfigs; and check that it answers.

The order never breaks what works: first the route; then a check of the endpoint by
its address; then the names; and only after the endpoint has answered under its name,
the kubeconfigs. A run that fails has changed no kubeconfig.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.authority import read_authority
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    STAGES,
    EndpointCheckError,
    EndpointTarget,
    Evidence,
    TlsClient,
    wait_for_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import (
    FILES,
    FileEdit,
    find_remains,
    hosts_edit,
    remove,
    rewrite,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.etc_hosts import render_block, saved_text
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_change import (
    KubeconfigChanges,
    other_kubeconfigs,
    read_kubeconfigs,
    server_addresses,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_services import (
    CONNECT_SECONDS,
    ChangeRecord,
    OutdatedServices,
    find_outdated,
    next_tick,
    read_record,
    restart,
    write_record,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import local_warning
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.proxies import proxy_warnings
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import ApiRoute, find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.spec import EndpointSpec, problems_of
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.status import missing_line, server_lines
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_BATCH,
    ENDPOINT_CHECKSUMS,
    ENDPOINT_HOSTS,
    ENDPOINT_NOTE,
    ENDPOINT_SERVERS,
    STATE,
)

NAME_SECONDS = 10
"""How long to wait for a name that is in the file already: a cache may hold the old address."""

_UNVERIFIED = (
    "no CA is known on this host before it joins the cluster, so the certificate of the API server was not verified: "
    "set overlay_api_ca (ca) to verify it"
)

_Value = t.TypeVar("_Value")


class EndpointChange(t.NamedTuple):
    """The difference between a host and a specification, and what the check of the endpoint needs.

    ``saved_files`` are files of this collection, replaced as a whole. ``record`` has
    when the server of each kubeconfig was changed, this run included. ``missing`` are
    the kubeconfigs that are not there yet.
    """

    route: ApiRoute
    hosts: FileEdit
    kubeconfigs: list[FileEdit]
    saved_files: list[Diff]
    clients: list[TlsClient]
    record: ChangeRecord
    missing: list[str]
    outdated: OutdatedServices
    warnings: list[str]

    def diffs(self) -> list[Diff]:
        """Return all differences, in the order in which they are applied."""
        route = Diff("route", *(f"{line}\n" if line else "" for line in (self.route.present, self.route.wanted)))
        edits = [edit.diff for edit in self.kubeconfigs if edit.before != edit.after]
        diffs = [route, self.hosts.diff, *edits, *self.saved_files]
        return [diff for diff in diffs if diff.before != diff.after]


class EndpointResult(t.NamedTuple):
    """The changes that were made, or that would be made in check mode; and what the check of the endpoint saw.

    ``outdated`` are the services that keep the former server of a kubeconfig; those of
    ``restarted`` were restarted. ``missing`` are the kubeconfigs that are not there yet.
    """

    diffs: list[Diff]
    outdated: OutdatedServices
    warnings: list[str]
    evidence: t.Mapping[str, str] = {}
    services: t.Mapping[str, Evidence] = {}
    backups: t.Sequence[str] = ()
    missing: t.Sequence[str] = ()
    restarted: t.Sequence[str] = ()


def find_change(spec: EndpointSpec, run: Run) -> EndpointChange:
    """Compare a host with a specification; change nothing.

    :raises ValidationError: names every problem of the specification, and every conflict on the host.
    """
    problems = problems_of(spec)
    if problems:
        raise ValidationError(*problems)
    hosts = _collect(problems, functools.partial(hosts_edit, spec.hosts_file, spec.names))
    saved = files.read_files(FILES)
    saved_route = saved.get(ENDPOINT_BATCH, "")
    route = _collect(problems, functools.partial(find_route, saved_route, spec.subnet, spec.gateway, run))
    clients = _collect(problems, functools.partial(_clients_of_spec, spec)) or []
    kubeconfigs = read_kubeconfigs(spec, problems)
    clients += kubeconfigs.clients
    unverified = not clients and bool(kubeconfigs.missing) and not kubeconfigs.edits
    if unverified:
        clients = [TlsClient("no CA", None, spec.api_name)]
    if not clients and not problems:
        problems.append("no CA is known: set ca or ca_file, or give a kubeconfig that has one")
    if problems or hosts is None or route is None:
        raise ValidationError(*problems)
    record = _record_of(kubeconfigs, hosts.before, _server(spec))
    outdated = find_outdated(record, spec.kubeconfig_services, run)
    warnings = [
        *_restore_warnings(spec, route),
        *([_UNVERIFIED] if unverified else []),
        *kubeconfigs.warnings,
        *other_kubeconfigs(spec, hosts, kubeconfigs.edits, clients, run),
        *proxy_warnings(spec.kubeconfigs, spec.api_name),
        *outdated.warnings,
    ]
    return EndpointChange(
        route=route,
        hosts=hosts,
        kubeconfigs=kubeconfigs.edits,
        saved_files=_saved_files(spec, route, kubeconfigs, saved),
        clients=_distinct(clients),
        record=record,
        missing=kubeconfigs.missing,
        outdated=outdated,
        warnings=warnings,
    )


def present(spec: EndpointSpec, run: Run, check: bool) -> EndpointResult:
    """Configure this host to reach the endpoint; with ``check`` only determine what would change.

    :raises ValidationError: nothing was changed.
    :raises EndpointCheckError: the endpoint does not answer; no kubeconfig was changed.
    """
    change = find_change(spec, run)
    services = change.outdated.restart if spec.restart_services else []
    forecast = [*change.diffs(), *(change.outdated.diffs() if services else [])]
    result = EndpointResult(forecast, change.outdated, change.warnings, missing=change.missing, restarted=services)
    if check:
        return result
    target = _target(spec, change)
    diffs = change.diffs()
    with locked():
        change.route.put(run)
        _save(change.saved_files, ENDPOINT_BATCH)
    # First by its address: a name that works must not be moved to an endpoint that does not.
    with _note_done(diffs, "route", ENDPOINT_BATCH):
        evidence = wait_for_endpoint(target, run, spec.timeout, [stage for stage in STAGES if stage != "name"])
    with locked(), _note_done(diffs, "route", ENDPOINT_BATCH, ENDPOINT_HOSTS, change.hosts.path):
        # From now on, the restore script puts the new block back, and not the former one.
        _save(change.saved_files, ENDPOINT_HOSTS)
        rewrite(change.hosts)
        evidence = {**wait_for_endpoint(target, run, min(spec.timeout, NAME_SECONDS), ["name"]), **evidence}
        _save(change.saved_files, ENDPOINT_NOTE)
        with _rewritten_kubeconfigs(spec, change) as backups:
            _save(change.saved_files, ENDPOINT_SERVERS)
            _save(change.saved_files, ENDPOINT_CHECKSUMS)
    late = _restart(spec, change, run) if services else []
    warnings = [*change.warnings, *_answer_warnings(target, evidence, run), *late]
    return result._replace(warnings=warnings, evidence=evidence, backups=backups)


def restarted(spec: EndpointSpec, run: Run, check: bool) -> EndpointResult:
    """Restart the services that keep the former server, if the endpoint answers; change nothing else.

    With ``check`` only determine which would be restarted after :func:`present`.

    :raises EndpointCheckError: the endpoint does not answer; nothing was restarted.
    :raises KernelError: a service cannot be restarted; those after it were not.
    """
    change = find_change(spec, run)
    if not check and any(edit.before != edit.after for edit in change.kubeconfigs):
        paths = ", ".join(edit.path for edit in change.kubeconfigs if edit.before != edit.after)
        raise KernelError(f"{paths} has another server, so no service was restarted: run tke.overlay.site first")
    services = change.outdated.restart
    result = EndpointResult(change.outdated.diffs(), change.outdated, [], missing=change.missing, restarted=services)
    if check or not services:
        return result
    evidence = wait_for_endpoint(_target(spec, change), run, spec.timeout)
    return result._replace(evidence=evidence, warnings=_restart(spec, change, run))


def _restart(spec: EndpointSpec, change: EndpointChange, run: Run) -> list[str]:
    return restart(change.outdated, _server(spec), min(spec.timeout, CONNECT_SECONDS), run)


def _server(spec: EndpointSpec) -> str:
    return with_port(spec.names[spec.api_name], spec.port)


@contextlib.contextmanager
def _rewritten_kubeconfigs(spec: EndpointSpec, change: EndpointChange) -> t.Iterator[list[str]]:
    """Write the servers, and record when that was; yield the backups. If these lines fail, all files are as before.

    :raises KernelError: a file cannot be written, or not be changed back.
    """
    edited, former = [edit.path for edit in change.kubeconfigs if edit.before != edit.after], read_record()
    written: list[tuple[FileEdit, str]] = []
    try:
        if edited:
            # First the record: without it, no run would report the services that keep the former server.
            write_record(_with_present_time(change.record, edited))
        for edit in change.kubeconfigs:
            written.append((edit, rewrite(edit, spec.backup)))  # noqa: PERF401 # also those before one that fails
        if edited:  # a service that started meanwhile can have read the former server
            write_record(_with_present_time(change.record, edited))
        yield [backup for _edit, backup in written if backup]
    except BaseException as error:
        left = _change_back(written)
        if left:  # a service can read the new server, so the record stays
            raise KernelError(f"{error}; {', '.join(left)} keeps the new server: run the playbook again") from error
        if edited:
            write_record(former)
        raise


def _change_back(written: t.Sequence[tuple[FileEdit, str]]) -> list[str]:
    """Roll edits of kubeconfigs back, and remove the copies of those files; return the paths where that fails."""
    left = []
    for edit, backup in reversed(written):
        try:
            rewrite(edit._replace(before=edit.after, after=edit.before))
            if backup:
                files.remove_file(backup)
        except KernelError:
            left.append(edit.path)
    return left


def _with_present_time(record: ChangeRecord, paths: t.Sequence[str]) -> ChangeRecord:
    """Return the record of this host with a change of these kubeconfigs."""
    saved, ticks = read_record(), next_tick()
    return ChangeRecord(
        {**saved.changed, **record.changed, **dict.fromkeys(paths, ticks)},
        record.former,
        saved.restarted,
    )


@contextlib.contextmanager
def _note_done(diffs: t.Sequence[Diff], *names: str) -> t.Iterator[None]:
    """Add to an error of these lines which differences were applied before it."""
    try:
        yield
    except EndpointCheckError as error:
        error.done = [diff for diff in diffs if diff.name in names]
        raise


def verified(spec: EndpointSpec, run: Run) -> EndpointResult:
    """Check the endpoint and each service; change nothing.

    :raises EndpointCheckError: one of them does not answer.
    :raises KernelError: all answer, but :func:`present` would change something.
    """
    change = find_change(spec, run)
    api_server = _target(spec, change)
    evidence = wait_for_endpoint(api_server, run, spec.timeout)
    services = {}
    for name in spec.services:
        # The CA of a service is not known here; the check only requires that it answers to its name.
        client = TlsClient(f"service {name}", None, name)
        target = EndpointTarget(name, spec.names[name], spec.services_port, [client], path=None)
        services[name] = wait_for_endpoint(target, run, spec.timeout)
    diffs = [*change.diffs(), *change.outdated.diffs()]
    if diffs:
        names = ", ".join(diff.name for diff in diffs)
        raise KernelError(
            f"the endpoint answers, but this host differs from the specification: {names}: run tke.overlay.site"
        )
    warnings = [*change.warnings, *_answer_warnings(api_server, evidence, run)]
    return EndpointResult([], change.outdated, warnings, evidence, services, missing=change.missing)


def absent(hosts_file: str, run: Run, check: bool) -> list[Diff]:
    """Revert :func:`present`, except for kubeconfigs; with ``check`` only determine what would be removed."""
    remains = find_remains(hosts_file, run)
    if not check:
        with locked():
            remove(remains, run)
            with contextlib.suppress(OSError):  # missing, or it holds other files
                os.rmdir(files.ROOT + STATE)
    return [Diff("endpoint", "".join(f"{line}\n" for line in remains.lines()), "")] if remains.lines() else []


# --- parts ------------------------------------------------------------------------------------------


def _collect(problems: list[str], work: t.Callable[[], _Value]) -> _Value | None:
    """Return the result of a function, or add the problems of its error, so that all are reported at once."""
    try:
        return work()
    except ValidationError as error:
        problems += error.problems
        return None


def _restore_warnings(spec: EndpointSpec, route: ApiRoute) -> list[str]:
    """Return a warning on a host that is no node: it has no restore script."""
    if os.path.exists(f"{files.ROOT}{STATE}/restore"):
        return []
    block = f"the block in {spec.hosts_file}"
    what = f"the route and {block} are" if route.wanted else f"{block} is"
    return [f"this host is no node of the overlay, so {what} not restored when another program removes it"]


def _record_of(kubeconfigs: KubeconfigChanges, hosts_text: str, server: str) -> ChangeRecord:
    """Return what this run and earlier ones since the boot have changed in these kubeconfigs.

    :param hosts_text: the content of /etc/hosts, which may have the addresses of a former server.
    :param server: the endpoint, which is no former server under any name.
    """
    record, present_time = read_record(), next_tick()
    changed = {
        edit.path: present_time if edit.before != edit.after else record.changed.get(edit.path)
        for edit in kubeconfigs.edits
    }
    former = [*record.former, *server_addresses(kubeconfigs.former, hosts_text)]
    return ChangeRecord(
        {path: ticks for path, ticks in changed.items() if ticks is not None},
        [each for each in former if each != server],
        record.restarted,
    )


def _clients_of_spec(spec: EndpointSpec) -> list[TlsClient]:
    if spec.authority is None:
        return []
    pem = read_authority(spec.authority, spec.authority_origin)
    return [TlsClient(spec.authority_origin, pem, spec.api_name)]


def _distinct(clients: t.Sequence[TlsClient]) -> list[TlsClient]:
    """Return one of each group of clients that trust and present the same."""
    found: dict[tuple[object, ...], TlsClient] = {}
    for client in clients:
        found.setdefault((client.authority, client.name, client.credentials), client)
    return list(found.values())


def _target(spec: EndpointSpec, change: EndpointChange) -> EndpointTarget:
    return EndpointTarget(spec.api_name, spec.names[spec.api_name], spec.port, change.clients)


def _saved_files(spec: EndpointSpec, route: ApiRoute, kubeconfigs: KubeconfigChanges, saved: files.Texts) -> list[Diff]:
    servers, noted = [], saved.get(ENDPOINT_SERVERS, "").splitlines()
    for edit in kubeconfigs.edits:
        expected = missing_line(edit.path, spec.clusters, spec.url)
        # A kubeconfig that came with the right server is no reason for another run.
        came = expected in noted and edit.before == edit.after
        servers += [expected] if came else server_lines(edit.path, edit.after, spec.clusters)
    servers += [missing_line(path, spec.clusters, spec.url) for path in kubeconfigs.missing]
    wanted = {
        ENDPOINT_BATCH: route.batch(),
        ENDPOINT_HOSTS: saved_text(files.ROOT + spec.hosts_file, render_block(spec.names)),
        ENDPOINT_NOTE: f"{_server(spec)}\n",
        ENDPOINT_SERVERS: "".join(f"{line}\n" for line in servers),
    }
    sums = checksums_text(ENDPOINT_CHECKSUMS, {name: text or None for name, text in wanted.items()})
    rights = files.wrong_rights(FILES)
    return [
        Diff(name, rights.get(name, "") + saved.get(name, ""), text)
        for name, text in {**wanted, ENDPOINT_CHECKSUMS: sums}.items()
    ]


def _save(saved_files: t.Sequence[Diff], name: str) -> None:
    """Write one of the saved files, if it differs, and the checksums of those that the host has now."""
    for diff in saved_files:
        if diff.name == name and diff.before != diff.after:
            files.put_file(name, diff.after or None)
            present = files.read_files([each for each in FILES if each != ENDPOINT_CHECKSUMS])
            files.put_file(ENDPOINT_CHECKSUMS, checksums_text(ENDPOINT_CHECKSUMS, present))


def _answer_warnings(target: EndpointTarget, evidence: Evidence, run: Run) -> list[str]:
    """Return what is wrong although the endpoint answers: it did not say whether it is ready, or is on this host."""
    http = evidence.get("http", ": 200 ")
    return [*([] if ": 200 " in http else [http]), *local_warning(target.address, run)]
