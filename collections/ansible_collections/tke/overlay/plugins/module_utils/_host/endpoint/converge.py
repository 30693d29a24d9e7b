# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: how one host reaches the API server: name, route, kubeconfigs, and whether it really answers.

The order keeps what works working: the route first; then the endpoint is asked, by
its address; then the names; and only when the endpoint has answered under its name
are kubeconfigs pointed to it. A run that fails has changed no kubeconfig.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    STAGES,
    Client,
    EndpointCheckError,
    EndpointQuestion,
    Evidence,
    context_of,
    wait,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import (
    HOSTS_FILE,
    FileEdit,
    find_remains,
    hosts_edit,
    remove,
    rewrite,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import parse, shown
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import BATCH_FILE, ApiRoute, find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import refuse_no_ca
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_NOTE, STATE

NAME_SECONDS = 10
"""The most to wait for a name that stands in the file already: a cache may hold the old answer."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_Value = t.TypeVar("_Value")


class EndpointSpec(t.NamedTuple):
    """What is asked for."""

    names: t.Mapping[str, str]
    api_name: str
    port: int
    authority: str | None = None
    authority_origin: str = "the CA"
    hosts_file: str = HOSTS_FILE
    subnet: str | None = None
    gateway: str | None = None
    kubeconfigs: t.Sequence[str] = ()
    clusters: t.Sequence[str] = ()
    backup: bool = False
    timeout: float = 30
    services: t.Sequence[str] = ()
    services_port: int = 443

    @property
    def url(self) -> str:
        """The server of the kubeconfigs."""
        return f"https://{self.api_name}:{self.port}"


class Change(t.NamedTuple):
    """What separates a host from a wish."""

    way: ApiRoute
    hosts: FileEdit
    kubeconfigs: list[FileEdit]
    notes: list[Diff]  # files of ours, whole
    clients: list[Client]
    warnings: list[str]

    def diffs(self) -> list[Diff]:
        """All differences, in the order in which they are made."""
        route = Diff("route", *(f"{line}\n" if line else "" for line in (self.way.present, self.way.wanted)))
        shown_diffs = [route, self.hosts.diff, *(edit.diff for edit in self.kubeconfigs), *self.notes]
        return [diff for diff in shown_diffs if diff.before != diff.after]


class EndpointResult(t.NamedTuple):
    """What was changed, or would be, and what was seen."""

    diffs: list[Diff]
    evidence: Evidence
    services: dict[str, Evidence]
    backups: list[str]
    warnings: list[str]


def find_change(wish: EndpointSpec, run: Run) -> Change:
    """Compares; changes nothing.

    :raises ValidationError: all that is wrong with the wish, or in its way.
    """
    problems = _problems_of(wish)
    if problems:
        raise ValidationError(*problems)
    hosts = _tried(problems, functools.partial(hosts_edit, wish.hosts_file, wish.names))
    saved = files.read_files([BATCH_FILE, ENDPOINT_NOTE])
    saved_way = saved.get(BATCH_FILE, "")
    way = _tried(problems, functools.partial(find_route, saved_way, wish.subnet, wish.gateway, run))
    clients = _tried(problems, functools.partial(_module_clients, wish)) or []
    edits, warnings = [], []
    for path in wish.kubeconfigs:
        found = _tried(problems, functools.partial(_kubeconfig, path, wish))
        if found is None:
            continue
        edits.append(found[0])
        warnings += [
            f"{client.origin} has no CA: it trusts whom the system trusts"
            for client in found[1]
            if not client.authority
        ]
        clients += [client for client in found[1] if client.authority]
    if not clients and not problems:
        problems.append("no CA is known: give ca or ca_file, or a kubeconfig that has one")
    if problems or hosts is None or way is None:
        raise ValidationError(*problems)
    if way.wanted and not os.path.exists(f"{files.ROOT}{STATE}/restore"):
        warnings.append("this host is no node of the overlay, so nothing puts the route back after a reboot")
    return Change(way, hosts, edits, _notes(wish, way, saved), _distinct(clients), warnings)


def present(wish: EndpointSpec, run: Run, check: bool) -> EndpointResult:
    """Makes this host reach the endpoint; with ``check`` only finds out what that would change.

    :raises ValidationError: nothing was changed.
    :raises EndpointCheckError: the endpoint does not answer; no kubeconfig was changed.
    """
    change = find_change(wish, run)
    if check:
        return EndpointResult(change.diffs(), {}, {}, [], change.warnings)
    question = _question(wish, change)
    diffs = change.diffs()
    with locked():
        change.way.put(run)
        _keep(change.notes, BATCH_FILE)
    # By its address first: a name that works is not moved to an endpoint that does not.
    with _done_before(diffs, "route", BATCH_FILE):
        evidence = wait(question, run, wish.timeout, [stage for stage in STAGES if stage != "name"])
    with locked(), _done_before(diffs, "route", BATCH_FILE, change.hosts.path):
        rewrite(change.hosts)
        evidence = {**wait(question, run, min(wish.timeout, NAME_SECONDS), ["name"]), **evidence}
        _keep(change.notes, ENDPOINT_NOTE)
        backups = [rewrite(edit, wish.backup) for edit in change.kubeconfigs]
    return EndpointResult(
        diffs, evidence, {}, [name for name in backups if name], [*change.warnings, *_doubts(evidence)]
    )


@contextlib.contextmanager
def _done_before(diffs: t.Sequence[Diff], *names: str) -> t.Iterator[None]:
    """Lets an error of these lines know which differences have gone already."""
    try:
        yield
    except EndpointCheckError as error:
        error.done = [diff for diff in diffs if diff.name in names]
        raise


def verified(wish: EndpointSpec, run: Run) -> EndpointResult:
    """Asks the endpoint and each service, and changes nothing.

    :raises EndpointCheckError: one does not answer.
    :raises KernelError: all answer, but something is not as :func:`present` would make it.
    """
    change = find_change(wish, run)
    evidence = wait(_question(wish, change), run, wish.timeout)
    services = {}
    for name in wish.services:
        # Whose CA a service has is its own affair: it must answer to its name.
        client = Client(f"service {name}", None, name)
        services[name] = wait(
            EndpointQuestion(name, wish.names[name], wish.services_port, [client], path=None), run, wish.timeout
        )
    diffs = change.diffs()
    if diffs:
        names = ", ".join(diff.name for diff in diffs)
        raise KernelError(
            f"the endpoint answers, but not everything is as it was asked for: {names}: run the site playbook"
        )
    return EndpointResult([], evidence, services, [], [*change.warnings, *_doubts(evidence)])


# --- taking it away -------------------------------------------------------------------------------


def absent(hosts_file: str, run: Run, check: bool) -> list[Diff]:
    """The opposite of :func:`present`, but for kubeconfigs; with ``check`` only finds out what that would remove."""
    remains = find_remains(hosts_file, run)
    if not check:
        with locked():
            remove(remains, run)
            with contextlib.suppress(OSError):  # not there, or other files are in it
                os.rmdir(files.ROOT + STATE)
    return [Diff("endpoint", "".join(f"{line}\n" for line in remains.lines()), "")] if remains.lines() else []


# --- parts ------------------------------------------------------------------------------------------


def _problems_of(wish: EndpointSpec) -> list[str]:
    problems = [f"{name!r} is no host name, in lower case" for name in wish.names if not _NAME.fullmatch(name)]
    for name, address in wish.names.items():
        try:
            if str(ipaddress.ip_address(address)) != address:
                problems.append(
                    f"the address of {name} should be written {ipaddress.ip_address(address)}, not {address}"
                )
        except ValueError:
            problems.append(f"{address!r}, the address of {name}, is no address")
    lacking = [name for name in (wish.api_name, *wish.services) if name not in wish.names]
    problems += [f"{name} has no address: give it one in names" for name in lacking]
    problems += [
        f"{what} {port} does not lie between 1 and 65535"
        for what, port in (("the port of the API server", wish.port), ("services_port", wish.services_port))
        if not 1 <= port <= 65535
    ]
    problems += [f"{path} is no absolute path" for path in (*wish.kubeconfigs, wish.hosts_file) if path[:1] != "/"]
    if not 0 <= wish.timeout <= 3600:
        problems.append(f"timeout {wish.timeout} does not lie between 0 and 3600 seconds")
    return problems


def _tried(problems: list[str], work: t.Callable[[], _Value]) -> _Value | None:
    """So that all problems are told at once."""
    try:
        return work()
    except ValidationError as refusal:
        problems += refusal.problems
        return None


def _kubeconfig(path: str, wish: EndpointSpec) -> tuple[FileEdit, list[Client]]:
    """What to change in a kubeconfig, and who asks by it: each of the clusters, with the user that goes with it."""
    try:
        text = files.read_foreign(path)
        text.encode("utf-8")
    except OSError as error:
        raise ValidationError(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError:
        # Not chained: the error has a part of the file in it.
        raise ValidationError(f"kubeconfig {path} is not written in UTF-8") from None
    config = parse(path, text)
    chosen = config.chosen(wish.clusters)
    clients = [
        Client(
            f"cluster {cluster.name} of {path}",
            cluster.authority,
            cluster.tls_name or wish.api_name,
            cluster.credentials,
        )
        for cluster in chosen
    ]
    for client in clients:
        if client.authority is not None:
            refuse_no_ca(client.authority, client.origin)
            context_of(client)
    before, after = (
        "".join(f"server of cluster {cluster.name}: {url or shown(cluster.server.value)}\n" for cluster in chosen)
        for url in ("", wish.url)
    )
    return FileEdit(path, text, config.with_server(chosen, wish.url), Diff(path, before, after)), clients


def _module_clients(wish: EndpointSpec) -> list[Client]:
    if wish.authority is None:
        return []
    refuse_no_ca(wish.authority, wish.authority_origin)
    return [Client(wish.authority_origin, wish.authority, wish.api_name)]


def _distinct(clients: t.Sequence[Client]) -> list[Client]:
    """Who trusts and shows the same need not ask twice."""
    found: dict[tuple[object, ...], Client] = {}
    for client in clients:
        found.setdefault((client.authority, client.name, client.credentials), client)
    return list(found.values())


def _question(wish: EndpointSpec, change: Change) -> EndpointQuestion:
    return EndpointQuestion(wish.api_name, wish.names[wish.api_name], wish.port, change.clients)


def _notes(wish: EndpointSpec, way: ApiRoute, saved: files.Texts) -> list[Diff]:
    note = f"{with_port(wish.names[wish.api_name], wish.port)}\n"
    return [Diff(name, saved.get(name, ""), text) for name, text in ((BATCH_FILE, way.batch()), (ENDPOINT_NOTE, note))]


def _keep(notes: t.Sequence[Diff], name: str) -> None:
    for note in notes:
        if note.name == name and note.before != note.after:
            files.put_file(name, note.after or None)


def _doubts(evidence: Evidence) -> list[str]:
    return [] if ": 200 " in evidence.get("http", ": 200 ") else [evidence["http"]]
