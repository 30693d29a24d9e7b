# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted endpoint of a host, as a user describes it, and what is wrong with the description."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    address_problems,
    is_ipv4_address,
    network_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import kubeconfig_services
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import HOSTS_FILE
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    is_host_name,
    is_one_line,
    path_problems,
    shown,
)


class EndpointSpec(t.NamedTuple):
    """The wanted state.

    ``names`` maps names to addresses; ``authority`` is the CA as it was given, and
    ``authority_origin`` says where it comes from, for error messages. ``subnet`` and
    ``gateway`` describe the route. ``timeout`` is in seconds.
    """

    names: t.Mapping[str, str]
    api_name: str
    port: int
    authority: bytes | None = None
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
    kubeconfig_services: t.Sequence[str] = ()
    restart_services: bool = True
    kubeconfigs_required: bool = False

    @property
    def url(self) -> str:
        """The server of the kubeconfigs."""
        return f"https://{self.api_name}:{self.port}"


def problems_of(spec: EndpointSpec) -> list[str]:
    """Return a sentence for each value that cannot be."""
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
    problems += kubeconfig_services.name_problems(spec.kubeconfig_services)
    return problems + range_problems("timeout", spec.timeout, 0, 3600, "seconds")
