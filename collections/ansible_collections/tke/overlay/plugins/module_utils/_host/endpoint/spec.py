# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wanted endpoint of a host, as a user describes it, and what is wrong with the description."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import address_problems
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import kubeconfig_services
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.cleanup import HOSTS_FILE

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


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

    @property
    def url(self) -> str:
        """The server of the kubeconfigs."""
        return f"https://{self.api_name}:{self.port}"


def problems_of(spec: EndpointSpec) -> list[str]:
    """Return a sentence for each value that cannot be."""
    problems = [
        f"{name!r} in names is not a host name in lower case" for name in spec.names if not _NAME.fullmatch(name)
    ]
    for name, address in spec.names.items():
        problems += address_problems(f"names: the address of {name},", address)
    missing = [name for name in (spec.api_name, *spec.services) if name not in spec.names]
    problems += [f"{name} has no address: add it to names" for name in missing]
    problems += range_problems("the port of the API server", spec.port, 1, 65535)
    problems += range_problems("services_port", spec.services_port, 1, 65535)
    problems += [f"{path} is not an absolute path" for path in (*spec.kubeconfigs, spec.hosts_file) if path[:1] != "/"]
    problems += kubeconfig_services.name_problems(spec.kubeconfig_services)
    return problems + range_problems("timeout", spec.timeout, 0, 3600, "seconds")
