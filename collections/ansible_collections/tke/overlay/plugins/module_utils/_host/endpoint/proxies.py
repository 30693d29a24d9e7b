# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find services that use a proxy for the API server, because of the environment in which they were started.

The check of the endpoint connects directly, so it would not show that. The rules are
those of Go (``golang.org/x/net/http/httpproxy``), in which kubelet is written.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import redacted_url
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_services import client_processes

_PROXY = ("HTTPS_PROXY", "https_proxy")
_EXCEPT = ("NO_PROXY", "no_proxy")


def proxy_warnings(paths: t.Collection[str], name: str) -> list[str]:
    """Return a warning for each service that has one of these kubeconfigs and reaches the API server through a proxy.

    :param name: the name of the API server.
    """
    warnings = []
    for process in client_processes(paths) if paths else []:
        proxy = _first(process.environment, _PROXY)
        if proxy and not _is_exempt(name, _first(process.environment, _EXCEPT)):
            warnings.append(
                f"{process} reaches {name} through the proxy {redacted_url(proxy)} of its environment (HTTPS_PROXY), "
                f"which is not checked: add {name} to NO_PROXY there"
            )
    return list(dict.fromkeys(warnings))


def _first(environment: t.Mapping[str, str], names: t.Sequence[str]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _is_exempt(name: str, exceptions: str) -> bool:
    for entry in exceptions.lower().split(","):
        host = entry.strip().rpartition(":")[0] or entry.strip()
        domain = host.lstrip("*")
        if host == "*" or name == domain or (domain and name.endswith(f".{domain.lstrip('.')}")):
            return True
    return False
