# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The architecture: packages import downward only, and controller side and host side do not import each other."""

from __future__ import annotations

import ast
import pathlib
import sys

import pytest

UTILS = pathlib.Path(__file__).parents[4] / "plugins" / "module_utils"
PREFIX = "ansible_collections.tke.overlay.plugins.module_utils."

# Lowest first. An entry is a package, or a module beside the packages.
SHARED = [
    "_import_once",
    "_errors",
    "_names",
    "_ledger_version",
    "_metrics",
    "_addressing",
    "_links",
    "_balancer",
    "_locking",
]
CONTROLLER_SIDE = [
    "_cluster.ipam",
    "_cluster.ledger",
    "_cluster.kubernetes",
    "_cluster.planning",
    "_cluster.diagnosis",
    "_cluster.report",
]
HOST_SIDE = [
    "_host.files",
    "_host.kernel",
    "_host.state",
    "_host.commit",
    "_host.probe",
    "_host.load_balancer",
    "_host.endpoint",
    "_host.node",
    "_host.conformance",
]
SURFACE = ["_module"]
COLUMNS = [[*SHARED, *CONTROLLER_SIDE, *SURFACE], [*SHARED, *HOST_SIDE, *SURFACE]]

THIRD_PARTY = {
    "_cluster.planning.validate": {"netaddr"},
    "_cluster.ledger.etcd_client": {"etcd3gw", "urllib3"},
    "_cluster.kubernetes.client": {"kubernetes", "urllib3", "yaml"},
    "_cluster.kubernetes.proxy_settings": {"yaml"},
    "_cluster.kubernetes.servers": {"yaml"},
    "_cluster.kubernetes.render": {"jinja2"},
    "_cluster.report.page": {"jinja2"},
    "_module": {"ansible"},
}


def modules():
    """Return the files of all modules of module_utils by module name, without ``__init__``."""
    names = {}
    for path in sorted(UTILS.rglob("*.py")):
        if path.name != "__init__.py":
            names[".".join(path.relative_to(UTILS).with_suffix("").parts)] = path
    return names


def layer_of(name):
    """Return the layer of a module: its package, or the module itself if it is beside the packages."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("_cluster", "_host") else parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            known = modules()
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name[len(PREFIX) :] in known else node.module


def is_below(imported, name):
    """Whether both modules are in one layer, or ``imported`` is in a lower layer of the same column."""
    layers = layer_of(imported), layer_of(name)
    return any(set(layers) <= set(column) and column.index(layers[0]) <= column.index(layers[1]) for column in COLUMNS)


def violation(name, imported):
    """Return why an import is not allowed, or ``None``."""
    if imported.startswith(PREFIX):
        return None if is_below(imported[len(PREFIX) :], name) else f"{name} imports {imported} from above"
    top = imported.partition(".")[0]
    allowed = THIRD_PARTY.get(name, set())
    return None if top in sys.stdlib_module_names or top in allowed else f"{name} imports {imported}"


def without_layer(names):
    """Return the modules that belong to no layer, such as one directly below ``_cluster`` or ``_host``."""
    layers = {layer for column in COLUMNS for layer in column}
    return sorted(name for name in names if layer_of(name) not in layers)


def test_every_module_belongs_to_a_layer():
    assert without_layer(modules()) == []


def test_every_layer_has_a_module():
    assert {layer for column in COLUMNS for layer in column} - {layer_of(name) for name in modules()} == set()


@pytest.mark.parametrize("name", ["_host.util", "_cluster.common", "_host.new.module", "_cluster.new.module", "_util"])
def test_a_module_outside_the_packages_belongs_to_no_layer(name):
    assert without_layer([name, "_host.files", "_host.kernel.fdb"]) == [name]


@pytest.mark.parametrize("name", modules())
def test_imports_only_point_downward(name):
    assert [text for text in (violation(name, imported) for imported in imports(modules()[name])) if text] == []


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("_cluster.ledger.file", PREFIX + "_cluster.planning.plan"),
        ("_cluster.report.model", PREFIX + "_host.kernel.fdb"),
        ("_host.kernel.fdb", PREFIX + "_cluster.ipam.pool"),
        ("_host.files", PREFIX + "_host.kernel.tables"),
        ("_addressing", PREFIX + "_host.files"),
        ("_host.kernel.fdb", "netaddr"),
        ("_cluster.planning.plan", "ansible.module_utils.basic"),
    ],
)
def test_an_upward_or_third_party_import_is_a_violation(name, imported):
    assert violation(name, imported)
