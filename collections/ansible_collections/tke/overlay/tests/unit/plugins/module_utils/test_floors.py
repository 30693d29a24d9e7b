# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floors of the house: each imports only from below, and the wings do not know each other."""

from __future__ import annotations

import ast
import pathlib
import sys

import pytest

UTILS = pathlib.Path(__file__).parents[4] / "plugins" / "module_utils"
PACKAGE = "ansible_collections.tke.overlay.plugins.module_utils."

FLOORS = {
    "_addressing": 1,
    "_cluster.pool": 2,
    "_cluster.vips": 2,
    "_cluster.ledger": 3,
    "_cluster.store": 3,
    "_cluster.store_base": 3,
    "_cluster.store_file": 3,
    "_cluster.store_etcd": 3,
    "_cluster.etcd_client": 3,
    "_cluster.etcd_url": 3,
    "_cluster.mark": 3,
    "_cluster.move": 3,
    "_cluster.preflight": 4,
    "_cluster.endpoints": 4,
    "_cluster.plan": 4,
    "_cluster.departure": 4,
    "_cluster.rebuild": 4,
    **dict.fromkeys(("_cluster.picture", *(f"_cluster.picture_{part}" for part in ("pool", "reach", "history"))), 4),
    "_cluster.picture_findings": 4,
    **dict.fromkeys((f"_cluster.page_{part}" for part in ("html", "map", "tables", "style", "script")), 4),
    "_cluster.page": 4,
    "_cluster.table": 4,
    "_cluster.rollout": 4,
    "_cluster.causes": 4,
    "_cluster.verdict": 4,
    "_cluster.overview": 4,
    "_host.tables": 5,
    "_host.files": 5,
    "_host.cni": 5,
    "_host.bridge": 5,
    "_host.fdb": 5,
    "_host.neighbor": 5,
    "_host.route": 5,
    "_host.link": 5,
    "_host.rules": 5,
    "_host.forward": 5,
    "_host.restore": 5,
    "_host.transition": 5,
    "_host.saved": 5,
    "_host.bulk": 5,
    "_host.confirm": 5,
    "_host.snapshot": 5,
    "_host.node": 5,
    "_host.reset": 5,
    "_host.yamltext": 5,
    "_host.kubeconfig": 5,
    "_host.certificate": 5,
    "_host.hostsfile": 5,
    "_host.way": 5,
    "_host.asking": 5,
    "_host.endpoint": 5,
    "_host.traces": 5,
    "_host.clb": 5,
    "_host.clb_files": 5,
    "_host.clb_watch": 5,
    "_host.sample": 5,
    "_host.echo": 5,
    "_host.answer": 5,
    "_host.probe": 5,
    "_host.info": 5,
    "_module": 6,
}
THIRD_PARTY = {
    "_cluster.preflight": {"netaddr"},
    "_cluster.etcd_client": {"etcd3gw", "urllib3"},
}


def modules():
    names = {}
    for path in sorted(UTILS.rglob("*.py")):
        name = ".".join(path.relative_to(UTILS).with_suffix("").parts)
        if not name.endswith("__init__"):
            names[name] = path
    return names


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module + "." == PACKAGE + "_cluster." or node.module + "." == PACKAGE + "_host.":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_every_module_has_its_floor():
    assert set(modules()) == set(FLOORS)


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_imports_only_downward(name):
    floor = FLOORS[name]
    for imported in imports(modules()[name]):
        if imported.startswith(PACKAGE):
            other = imported[len(PACKAGE) :]
            assert FLOORS[other] <= floor, f"{name} imports {other} from above"
            wings = {word.partition(".")[0] for word in (name, other)} & {"_cluster", "_host"}
            assert len(wings) < 2, f"{name} and {other} are of different wings"
        else:
            top = imported.partition(".")[0]
            allowed = THIRD_PARTY.get(name, set()) | ({"ansible"} if floor == 6 else set())
            assert top in sys.stdlib_module_names or top in allowed, f"{name} imports {imported}"
