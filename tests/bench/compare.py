#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Run the bench and print one table: measure, limit, wanted, here, ratio.

``compare.py DIRECTORY`` measures this checkout. With ``--ref COMMIT``, it measures that commit as well, section by
section in turns on the same labs, and the ratio is that of the two. The other commit is measured by the bench of this
checkout, so a section that calls a function which it lacks cannot be measured. ``--sections`` selects some.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections"), str(ROOT / "tests" / "lab")]

from tests.bench.bench import DEFAULT, SECTIONS, machine  # noqa: E402  # found by the line above
from tests.bench.report import Measure, from_data, table  # noqa: E402

LAB = ROOT / "tests/lab/lab"
FLEET = "fleet"  # needs 60 nodes, so it runs in a lab of its own


def main() -> int:
    """Measure, print the table, and return 1 if this checkout misses a limit or a section could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="for the inventories, the results and the other checkout")
    parser.add_argument("--ref", help="another commit")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(DEFAULT))
    options = parser.parse_args()
    directory = options.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    trees = {commit_of("HEAD", dirty=True): ROOT}
    if options.ref:
        trees[f"{commit_of(options.ref)} ({options.ref})"] = checkout(directory, options.ref)
    print(machine(), flush=True)
    results: dict[str, dict[str, list[Measure]]] = {name: {} for name in trees}
    for section in options.sections:
        with_lab(directory, section, "up")
        for name, tree in reversed(trees.items()):
            results[name].update(measured(directory, section, tree))
        if section == FLEET:
            with_lab(directory, section, "down")
    here, *others = results
    print()
    print(table(results[here], here, results[others[0]] if others else None, others[0] if others else ""))
    missed = any(measure.missed for measures in results[here].values() for measure in measures)
    return 1 if missed or set(results[here]) != set(options.sections) else 0


def commit_of(reference: str, dirty: bool = False) -> str:
    """Return the abbreviated hash of a commit, with a mark if files of this checkout differ from it."""
    commit = git("rev-parse", "--short", f"{reference}^{{commit}}").decode().strip()
    changed = dirty and git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}-dirty" if changed else commit


def git(*words: str) -> bytes:
    """Return the output of git."""
    return subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def checkout(directory: Path, commit: str) -> Path:
    """Extract the files of another commit, with the virtual environment and the bench of this checkout."""
    tree = directory / "other"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    subprocess.run(["tar", "-C", str(tree), "-x"], input=git("archive", commit), check=True)
    (tree / ".venv").symlink_to(ROOT / ".venv")
    shutil.rmtree(tree / "tests/bench")
    shutil.copytree(ROOT / "tests/bench", tree / "tests/bench", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def with_lab(directory: Path, section: str, verb: str) -> None:
    """Start or stop the lab of a section."""
    inventories = ["-i", str(ROOT / "inventories/lab/hosts.yml")]
    if section == FLEET:
        further = directory / "further_nodes.json"
        bench = [sys.executable, str(ROOT / "tests/bench/bench.py"), "--inventory"]
        further.write_text(subprocess.run(bench, stdout=subprocess.PIPE, text=True, check=True).stdout)
        inventories += ["-i", str(further)]
    words = [str(LAB), *(inventories if verb == "up" else []), verb]
    with (directory / "lab.log").open("w", encoding="utf-8") as log:
        subprocess.run(words, env=environment(ROOT, section), stdout=log, stderr=log, check=True)


def environment(tree: Path, section: str) -> dict[str, str]:
    """Return the environment of a checkout: the settings and the roles of its Ansible, and the lab of the section."""
    lab = {"TKE_LAB": "bench"} if section == FLEET else {}
    return {
        **os.environ,
        **lab,
        "ANSIBLE_CONFIG": str(tree / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(tree / "collections"),
        "ANSIBLE_ROLES_PATH": str(tree / "roles"),
    }


def measured(directory: Path, section: str, tree: Path) -> dict[str, list[Measure]]:
    """Run a section of the bench on a checkout; return its values, or nothing if it could not be measured."""
    saved = directory / "values.json"
    saved.unlink(missing_ok=True)
    command = [str(LAB), "run", sys.executable, str(tree / "tests/bench/bench.py"), section, "--save", str(saved)]
    subprocess.run(command, cwd=tree, env=environment(tree, section), check=False)
    if not saved.exists():
        return {}
    found = json.loads(saved.read_text())
    return {name: from_data(rows) for name, rows in found.items()}


if __name__ == "__main__":
    sys.exit(main())
