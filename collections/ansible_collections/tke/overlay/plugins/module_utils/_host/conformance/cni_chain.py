# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CNI configuration that the container runtime of this host uses, and how a runtime calls its plugins.

The runtime uses the first file of its directory, in the order of names, and calls the plugins of that file one after
the other, each with the result of the previous one (CNI specification 1.0, sections 3 and 4).
"""

from __future__ import annotations

import json
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import names_in

SUFFIXES = (".conf", ".conflist", ".json")
NEWEST = (1, 1, 0)
"""The newest version of the specification that this module knows."""

DATA = "/var/lib/cni/networks"
"""Where host-local keeps its leases by default: a directory for each network."""

MAX_PLUGINS = 16
MAX_FILE = 1 << 20

Config = t.Dict[str, t.Any]


class CniChain(t.NamedTuple):
    """The plugins of a CNI configuration, in their order, and where the programs are."""

    path: str  # of the file
    name: str  # of the network
    version: str
    plugins: t.Sequence[Config]
    directories: t.Sequence[str]

    @property
    def with_host_ports(self) -> bool:
        """Whether a plugin takes host ports."""
        return any(_takes_ports(plugin) for plugin in self.plugins)

    @property
    def ipam(self) -> Config:
        """The part that assigns addresses; empty if no plugin has one."""
        return next((plugin["ipam"] for plugin in self.plugins if isinstance(plugin.get("ipam"), dict)), {})

    @property
    def leases(self) -> str:
        """The directory in which host-local keeps its leases; empty with another program."""
        if self.ipam.get("type") != "host-local":
            return ""
        return f"{str(self.ipam.get('dataDir') or DATA).rstrip('/')}/{self.name}"

    @property
    def bridge(self) -> str:
        """The bridge that the plugin of that name makes; empty without it."""
        return next((str(each.get("bridge") or "cni0") for each in self.plugins if each["type"] == "bridge"), "")

    def program(self, plugin: Config) -> str:
        """Return the path of a plugin.

        :raises KernelError: it is in no directory of the runtime.
        """
        for directory in self.directories:
            path = f"{directory}/{plugin['type']}"
            if os.path.isfile(files.ROOT + path) and os.access(files.ROOT + path, os.X_OK):
                return files.ROOT + path
        raise KernelError(f"the CNI plugin {plugin['type']}, which {self.path} names, is not in {self._places}")

    @property
    def _places(self) -> str:
        return some_of(self.directories, 4)

    def standard_input(self, plugin: Config, previous: t.Any, ports: t.Sequence[Config]) -> str:
        """Return what a plugin reads: its configuration with name, version, host ports and the previous result."""
        config = {key: value for key, value in plugin.items() if key != "capabilities"}
        config.update(cniVersion=self.version, name=self.name)
        if ports and _takes_ports(plugin):
            config["runtimeConfig"] = {**config.get("runtimeConfig", {}), "portMappings": list(ports)}
        if previous is not None:
            config["prevResult"] = previous
        return json.dumps(config)


def _takes_ports(plugin: Config) -> bool:
    capabilities = plugin.get("capabilities")
    return isinstance(capabilities, dict) and capabilities.get("portMappings") is True


def winning_chain(directories: t.Sequence[str], directory: str = os.path.dirname(CNI_FILE)) -> CniChain:
    """Return the chain of the first file by name.

    :param directories: where the programs are.
    :raises KernelError: there is no file, or the first one cannot be used.
    """
    for name in names_in(directory):
        if name.endswith(SUFFIXES):
            chain = _chain_of(f"{directory}/{name}", directories)
            if chain.plugins:  # containerd and CRI-O pass over a list without plugins
                return chain
    raise KernelError(f"{directory} has no CNI configuration: run tke.overlay.site")


def _chain_of(path: str, directories: t.Sequence[str]) -> CniChain:
    try:
        document = json.loads(files.read_foreign(path)[:MAX_FILE])
        plugins = document.get("plugins", [document])
        for plugin in plugins:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(plugin["type"])):
                raise ValueError(f"{plugin['type']!r} is no name of a plugin")
        if len(plugins) > MAX_PLUGINS:
            raise ValueError(f"it has {len(plugins)} plugins")
        name = str(document["name"])
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise ValueError(f"{name!r} is no name of a network")
        return CniChain(path, name, _version_of(document), plugins, directories)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise KernelError(
            f"{path}, the first CNI configuration by name, which the container runtime uses, cannot be used: {reason}"
        ) from error


def _version_of(document: Config) -> str:
    """Return the highest known version that a configuration offers."""
    offered = [str(document.get("cniVersion") or "0.1.0"), *map(str, document.get("cniVersions", ()))]
    known = {_numbers(version): version for version in offered if _numbers(version) <= NEWEST}
    if not known:
        raise ValueError(f"it is of version {offered[0]} of the CNI specification")
    return known[max(known)]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def address_of(result: t.Any) -> str:
    """Return the first IPv4 address of a result of ADD.

    :raises KernelError: there is none.
    """
    try:
        found = [str(each["address"]).partition("/")[0] for each in result.get("ips", [])]
    except (AttributeError, KeyError, TypeError) as error:
        raise KernelError("the result of the CNI plugins cannot be read") from error
    addresses = [each for each in found if ":" not in each]
    if not addresses:
        raise KernelError("the CNI plugins gave the Pod no IPv4 address")
    return addresses[0]
