# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Change the controller's code in many small ways, one at a time, and list the changes that no unit test detects.

``mutation.py DIRECTORY [MODULE...]`` works on a copy of the collection in DIRECTORY, with mutmut in a virtual
environment there. MODULE restricts the run to a module or a package, such as ``pool`` or ``ledger``. The results are
kept, so the next run continues where the last one stopped. The survivors are listed at the end;
``mutmut show NAME`` in DIRECTORY/work shows one.

The code is ``_addressing`` and ``_cluster`` without two parts. The etcd client and the etcd store are left out, because
their tests start real etcd members, which takes too long once per mutant. The rendering of the report's page is left
out, because its tests run in a browser (tests/browser).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

MUTMUT = "mutmut==3.8.1"
LEAST_KILLED = 95  # per cent

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections/tke/overlay"
UTILS = f"{COLLECTION}/plugins/module_utils"
TESTS = f"{COLLECTION}/tests/unit/plugins/module_utils"

PAGE = ("page*", "tables", "map_svg", "colors")
"""The modules of ``_cluster/report`` that render the page."""

SLOW = "any_call"
"""Part of the names of the tests that fork a process for every system call of a write: too slow once per mutant."""

# The paths are those that Python imports, so mutmut's names of the mutants are those of the functions.
SETTINGS = f"""\
[tool.mutmut]
source_paths = ["ansible_collections"]
only_mutate = ["{UTILS}/_addressing.py", "{UTILS}/_cluster/*.py"]
do_not_mutate = {["*/ledger/etcd_client.py", "*/ledger/etcd.py", *(f"*/report/{name}.py" for name in PAGE)]}
also_copy = ["pyproject.toml"]
tests_dir = ["{TESTS}"]
# test_layers.py reads the import statements of each file, and the file of a mutant has those of mutmut in it.
pytest_add_cli_args = ["--deselect={TESTS}/test_layers.py", "-k", "not {SLOW}"]
pytest_add_cli_args_test_selection = ["{TESTS}"]

[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "-p no:cacheprovider", "--hypothesis-profile=ci"]
consider_namespace_packages = true
pythonpath = ["."]
"""


def prepare(directory: Path) -> Path:
    """Prepare the virtual environment and the copy, and return the copy. It keeps the results of former runs."""
    environment, work = directory / "venv", directory / "work"
    if not (environment / "bin/mutmut").exists():
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin/pip"), "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(ROOT / "requirements.txt"), MUTMUT], check=True)
    shutil.rmtree(work / COLLECTION, ignore_errors=True)
    shutil.copytree(
        ROOT / "collections" / COLLECTION, work / COLLECTION, ignore=shutil.ignore_patterns("__pycache__", "output")
    )
    # Fewer examples of hypothesis, because each mutant runs them all.
    tests = {test: test.read_text(encoding="utf-8") for test in (work / TESTS).rglob("test_*.py")}
    if not any(re.search(rf"def test_\w*{SLOW}", text) for text in tests.values()):
        sys.exit(f"no test has {SLOW} in its name: set SLOW to the new name of the slow tests of _cluster/ledger/file")
    for test, text in tests.items():
        test.write_text(re.sub(r"max_examples=\d+", "max_examples=20", text), encoding="utf-8")
    (work / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    return work


def forget_survivors(work: Path) -> None:
    """Mark the mutants that survived as not run, because mutmut does not notice that the tests have changed.

    Remove the list of the tests that run each function, too: mutmut extends it for new tests only, and code may have
    moved.
    """
    (work / "mutants/mutmut-stats.json").unlink(missing_ok=True)
    for path in (work / "mutants").rglob("*.meta"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        codes = kept["exit_code_by_key"]
        kept["exit_code_by_key"] = {name: None if code in (0, 33) else code for name, code in codes.items()}
        path.write_text(json.dumps(kept), encoding="utf-8")


def results_of(work: Path) -> dict[str, list[str]]:
    """Return the names of the mutants by result."""
    found: dict[str, list[str]] = {"killed": [], "survived": [], "without a test": [], "not run": []}
    for path in sorted((work / "mutants").rglob("*.meta")):
        for name, code in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].items():
            what = {None: "not run", 0: "survived", 33: "without a test"}.get(code, "killed")
            found[what].append(name)
    return found


def main() -> None:
    """Prepare and run mutmut, print the survivors and the share of killed mutants, and fail below the limit."""
    directory, modules = Path(sys.argv[1]).resolve(), sys.argv[2:]
    work = prepare(directory)
    forget_survivors(work)
    globs = [f"*module_utils.*{module}.*" for module in modules]
    environment = {**os.environ, "PATH": f"{directory}/venv/bin:{os.environ['PATH']}", "TERM": "dumb"}
    log = directory / "log"
    with log.open("w", encoding="utf-8") as stream:
        command = ["mutmut", "run", "--max-children", str(os.cpu_count()), *globs]
        subprocess.run(command, cwd=work, env=environment, stdout=stream, stderr=stream, check=False)

    found = results_of(work)
    judged = len(found["killed"]) + len(found["survived"]) + len(found["without a test"])
    for what, names in found.items():
        print(f"{len(names):5} {what}")
    for name in found["survived"] + found["without a test"]:
        print(f"  {name}")
    if not judged or (found["not run"] and not modules):
        sys.exit(f"mutmut did not finish: see {log}")
    share = 100 * len(found["killed"]) / judged
    print(f"{share:.1f} % killed")
    if share < LEAST_KILLED:
        sys.exit(f"{share:.1f} % is less than the limit of {LEAST_KILLED} %: add tests that detect the mutants above")


if __name__ == "__main__":
    main()
