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

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    address_problems,
    is_ipv4_address,
    network_problems,
    with_port,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    STAGES,
    EndpointCheckError,
    EndpointTarget,
    Evidence,
    TlsClient,
    tls_context,
    wait_for_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import (
    HOSTS_FILE,
    FileEdit,
    find_remains,
    hosts_edit,
    remove,
    rewrite,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import (
    parse_kubeconfig,
    redacted_url,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import BATCH_FILE, ApiRoute, find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import require_ca
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_NOTE, STATE
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    is_host_name,
    is_one_line,
    path_problems,
    shown,
)

NAME_SECONDS = 10
"""How long to wait for a name that is in the file already: a cache may hold the old address."""

_Value = t.TypeVar("_Value")


class EndpointSpec(t.NamedTuple):
    """The wanted state.

    ``names`` maps names to addresses; ``authority`` is the CA as PEM, and
    ``authority_origin`` says where it comes from, for error messages. ``subnet`` and
    ``gateway`` describe the route. ``timeout`` is in seconds.
    """

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


class EndpointChange(t.NamedTuple):
    """The difference between a host and a specification, and what the check of the endpoint needs.

    ``saved_files`` are files of this collection, replaced as a whole.
    """

    route: ApiRoute
    hosts: FileEdit
    kubeconfigs: list[FileEdit]
    saved_files: list[Diff]
    clients: list[TlsClient]
    warnings: list[str]

    def diffs(self) -> list[Diff]:
        """Return all differences, in the order in which they are applied."""
        route = Diff("route", *(f"{line}\n" if line else "" for line in (self.route.present, self.route.wanted)))
        diffs = [route, self.hosts.diff, *(edit.diff for edit in self.kubeconfigs), *self.saved_files]
        return [diff for diff in diffs if diff.before != diff.after]


class EndpointResult(t.NamedTuple):
    """The changes that were made, or that would be made in check mode; and what the check of the endpoint saw."""

    diffs: list[Diff]
    evidence: Evidence
    services: dict[str, Evidence]
    backups: list[str]
    warnings: list[str]


def find_change(spec: EndpointSpec, run: Run) -> EndpointChange:
    """Compare a host with a specification; change nothing.

    :raises ValidationError: names every problem of the specification, and every conflict on the host.
    """
    problems = _problems_of(spec)
    if problems:
        raise ValidationError(*problems)
    hosts = _collect(problems, functools.partial(hosts_edit, spec.hosts_file, spec.names))
    saved = files.read_files([BATCH_FILE, ENDPOINT_NOTE])
    saved_route = saved.get(BATCH_FILE, "")
    route = _collect(problems, functools.partial(find_route, saved_route, spec.subnet, spec.gateway, run))
    clients = _collect(problems, functools.partial(_clients_of_spec, spec)) or []
    edits, warnings = [], []
    for path in spec.kubeconfigs:
        found = _collect(problems, functools.partial(_read_kubeconfig, path, spec))
        if found is None:
            continue
        edits.append(found[0])
        warnings += [
            f"{client.origin} has no CA, so it trusts the CAs of the system"
            for client in found[1]
            if not client.authority
        ]
        clients += [client for client in found[1] if client.authority]
    if not clients and not problems:
        problems.append("no CA is known: set ca or ca_file, or give a kubeconfig that has one")
    if problems or hosts is None or route is None:
        raise ValidationError(*problems)
    if route.wanted and not os.path.exists(f"{files.ROOT}{STATE}/restore"):
        warnings.append("this host is no node of the overlay, so the route is not restored after a reboot")
    return EndpointChange(route, hosts, edits, _saved_files(spec, route, saved), _distinct(clients), warnings)


def present(spec: EndpointSpec, run: Run, check: bool) -> EndpointResult:
    """Configure this host to reach the endpoint; with ``check`` only determine what would change.

    :raises ValidationError: nothing was changed.
    :raises EndpointCheckError: the endpoint does not answer; no kubeconfig was changed.
    """
    change = find_change(spec, run)
    if check:
        return EndpointResult(change.diffs(), {}, {}, [], change.warnings)
    target = _target(spec, change)
    diffs = change.diffs()
    with locked():
        change.route.put(run)
        _save(change.saved_files, BATCH_FILE)
    # First by its address: a name that works must not be moved to an endpoint that does not.
    with _note_done(diffs, "route", BATCH_FILE):
        evidence = wait_for_endpoint(target, run, spec.timeout, [stage for stage in STAGES if stage != "name"])
    with locked(), _note_done(diffs, "route", BATCH_FILE, change.hosts.path):
        rewrite(change.hosts)
        evidence = {**wait_for_endpoint(target, run, min(spec.timeout, NAME_SECONDS), ["name"]), **evidence}
        _save(change.saved_files, ENDPOINT_NOTE)
        backups = [rewrite(edit, spec.backup) for edit in change.kubeconfigs]
    warnings = [*change.warnings, *_readiness_warnings(evidence)]
    return EndpointResult(diffs, evidence, {}, [name for name in backups if name], warnings)


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
    evidence = wait_for_endpoint(_target(spec, change), run, spec.timeout)
    services = {}
    for name in spec.services:
        # The CA of a service is not known here; the check only requires that it answers to its name.
        client = TlsClient(f"service {name}", None, name)
        target = EndpointTarget(name, spec.names[name], spec.services_port, [client], path=None)
        services[name] = wait_for_endpoint(target, run, spec.timeout)
    diffs = change.diffs()
    if diffs:
        names = ", ".join(diff.name for diff in diffs)
        raise KernelError(
            f"the endpoint answers, but this host differs from the specification: {names}: run tke.overlay.site"
        )
    return EndpointResult([], evidence, services, [], [*change.warnings, *_readiness_warnings(evidence)])


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


def _problems_of(spec: EndpointSpec) -> list[str]:
    problems = [
        f"{shown(name)} in names is not a host name in lower case"
        for name in spec.names
        if not is_host_name(name) or name != name.lower()
    ]
    for name, address in spec.names.items():
        problems += address_problems(f"names: the address of {shown(name)[1:-1]},", address)
    for option, name in (("api: name", spec.api_name), *(("services", name) for name in spec.services)):
        if name not in spec.names:
            problems.append(f"{shown(name)[1:-1]} ({option}) has no address: add it to names")
    if spec.subnet is not None:
        problems += network_problems("route: subnet", spec.subnet)
    if spec.gateway is not None and not is_ipv4_address(spec.gateway):
        problems.append(f"route: via {shown(spec.gateway)} is no IPv4 address")
    problems += [f"clusters: {shown(name)} is not one line of text" for name in spec.clusters if not is_one_line(name)]
    problems += range_problems("the port of the API server", spec.port, 1, 65535)
    problems += range_problems("services_port", spec.services_port, 1, 65535)
    for option, path in (*(("kubeconfigs", path) for path in spec.kubeconfigs), ("hosts_file", spec.hosts_file)):
        problems += path_problems(f"{option}:", path)
    return problems + range_problems("timeout", spec.timeout, 0, 3600, "seconds")


def _collect(problems: list[str], work: t.Callable[[], _Value]) -> _Value | None:
    """Return the result of a function, or add the problems of its error, so that all are reported at once."""
    try:
        return work()
    except ValidationError as error:
        problems += error.problems
        return None


def _read_kubeconfig(path: str, spec: EndpointSpec) -> tuple[FileEdit, list[TlsClient]]:
    """Return the edit of a kubeconfig, and a client for each selected cluster, with the credentials of its user."""
    try:
        text = files.read_foreign(path)
        text.encode("utf-8")
    except OSError as error:
        raise ValidationError(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError:
        # Not chained: the error holds a part of the file.
        raise ValidationError(f"kubeconfig {path} is not encoded in UTF-8") from None
    config = parse_kubeconfig(path, text)
    selected = config.select(spec.clusters)
    clients = [
        TlsClient(
            f"cluster {cluster.name} of {path}",
            cluster.authority,
            cluster.tls_name or spec.api_name,
            cluster.credentials,
        )
        for cluster in selected
    ]
    for client in clients:
        if client.authority is not None:
            require_ca(client.authority, client.origin)
            tls_context(client)
    before, after = (
        "".join(
            f"server of cluster {cluster.name}: {url or redacted_url(cluster.server.value)}\n" for cluster in selected
        )
        for url in ("", spec.url)
    )
    return FileEdit(path, text, config.with_server(selected, spec.url), Diff(path, before, after)), clients


def _clients_of_spec(spec: EndpointSpec) -> list[TlsClient]:
    if spec.authority is None:
        return []
    require_ca(spec.authority, spec.authority_origin)
    return [TlsClient(spec.authority_origin, spec.authority, spec.api_name)]


def _distinct(clients: t.Sequence[TlsClient]) -> list[TlsClient]:
    """Return one of each group of clients that trust and present the same."""
    found: dict[tuple[object, ...], TlsClient] = {}
    for client in clients:
        found.setdefault((client.authority, client.name, client.credentials), client)
    return list(found.values())


def _target(spec: EndpointSpec, change: EndpointChange) -> EndpointTarget:
    return EndpointTarget(spec.api_name, spec.names[spec.api_name], spec.port, change.clients)


def _saved_files(spec: EndpointSpec, route: ApiRoute, saved: files.Texts) -> list[Diff]:
    note = f"{with_port(spec.names[spec.api_name], spec.port)}\n"
    wanted = ((BATCH_FILE, route.batch()), (ENDPOINT_NOTE, note))
    return [Diff(name, saved.get(name, ""), text) for name, text in wanted]


def _save(saved_files: t.Sequence[Diff], name: str) -> None:
    for diff in saved_files:
        if diff.name == name and diff.before != diff.after:
            files.put_file(name, diff.after or None)


def _readiness_warnings(evidence: Evidence) -> list[str]:
    """Return the answer of a server that did not report whether it is ready, see ``check``."""
    return [] if ": 200 " in evidence.get("http", ": 200 ") else [evidence["http"]]
