# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Change the code of floors 1 to 4 in many small ways, one at a time, and see which no unit test notices.

``mutation.py DIRECTORY [MODULE...]`` works on a copy of the collection in DIRECTORY, with mutmut in an environment of
its own there. A MODULE, such as ``pool``, restricts the run. What was found is kept: the next run does the rest. The
survivors are listed at the end; ``mutmut show NAME`` in DIRECTORY/work shows one.

The two modules that speak to etcd are left out: their tests start real members, which takes too long once per mutant.
So is the report's page: tests/browser tests it.
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
LEAST_KILLED = 90  # per cent

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections/tke/overlay"
UTILS = f"{COLLECTION}/plugins/module_utils"
TESTS = f"{COLLECTION}/tests/unit/plugins/module_utils"

# The tree is named as Python imports it, so that mutmut's names are those of the functions.
SETTINGS = f"""\
[tool.mutmut]
source_paths = ["ansible_collections"]
only_mutate = ["{UTILS}/_addressing.py", "{UTILS}/_cluster/*/*.py"]
do_not_mutate = ["*/ledger/etcd_client.py", "*/ledger/etcd.py", "*/report/page.py"]
also_copy = ["pyproject.toml"]
tests_dir = ["{TESTS}"]
# The first reads imports as they are written, and a mutant's file has mutmut's own. The others fork a process for every
# system call of a write, and would do so for every mutant.
pytest_add_cli_args = ["--deselect={TESTS}/test_layers.py", "-k", "not any_call"]
pytest_add_cli_args_test_selection = ["{TESTS}"]

[tool.pytest.ini_options]
addopts = ["--import-mode=importlib", "-p no:cacheprovider", "--hypothesis-profile=ci"]
consider_namespace_packages = true
pythonpath = ["."]
"""


def prepare(directory: Path) -> Path:
    """The environment and the copy; the copy keeps what former runs have found."""
    environment, work = directory / "venv", directory / "work"
    if not (environment / "bin/mutmut").exists():
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin/pip"), "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", str(ROOT / "requirements.txt"), MUTMUT], check=True)
    shutil.rmtree(work / COLLECTION, ignore_errors=True)
    shutil.copytree(
        ROOT / "collections" / COLLECTION, work / COLLECTION, ignore=shutil.ignore_patterns("__pycache__", "output")
    )
    # Fewer examples: what only the hundredth notices is found late, and every mutant pays for it.
    for test in (work / TESTS).rglob("test_*.py"):
        text = test.read_text(encoding="utf-8")
        test.write_text(re.sub(r"max_examples=\d+", "max_examples=20", text), encoding="utf-8")
    (work / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    return work


def forget_survivors(work: Path) -> None:
    """Let mutants that survived be tried again: what has changed since are the tests, by which mutmut does not go.

    Which test runs which function is found out anew, too: mutmut does so for new tests only, and code may have moved.
    """
    (work / "mutants/mutmut-stats.json").unlink(missing_ok=True)
    for path in (work / "mutants").rglob("*.meta"):
        kept = json.loads(path.read_text(encoding="utf-8"))
        codes = kept["exit_code_by_key"]
        kept["exit_code_by_key"] = {name: None if code in (0, 33) else code for name, code in codes.items()}
        path.write_text(json.dumps(kept), encoding="utf-8")


def verdicts(work: Path) -> dict[str, list[str]]:
    """The mutants, by what became of them."""
    found: dict[str, list[str]] = {"killed": [], "survived": [], "without a test": [], "not run": []}
    for path in sorted((work / "mutants").rglob("*.meta")):
        for name, code in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].items():
            what = {None: "not run", 0: "survived", 33: "without a test"}.get(code, "killed")
            found[what].append(name)
    return found


def main() -> None:
    """Prepare, run, and say what share was killed."""
    directory, modules = Path(sys.argv[1]).resolve(), sys.argv[2:]
    work = prepare(directory)
    forget_survivors(work)
    globs = [f"*module_utils.*{module}.*" for module in modules]
    environment = {**os.environ, "PATH": f"{directory}/venv/bin:{os.environ['PATH']}", "TERM": "dumb"}
    log = directory / "log"
    with log.open("w", encoding="utf-8") as stream:
        command = ["mutmut", "run", "--max-children", str(os.cpu_count()), *globs]
        subprocess.run(command, cwd=work, env=environment, stdout=stream, stderr=stream, check=False)

    found = verdicts(work)
    judged = len(found["killed"]) + len(found["survived"]) + len(found["without a test"])
    for what, names in found.items():
        print(f"{len(names):5} {what}")
    for name in found["survived"] + found["without a test"]:
        print(f"  {name}")
    if not judged or (found["not run"] and not modules):
        sys.exit(f"mutmut came to no end: see {log}")
    share = 100 * len(found["killed"]) / judged
    print(f"{share:.1f} % killed")
    if share < LEAST_KILLED:
        sys.exit(f"less than {LEAST_KILLED} %")


if __name__ == "__main__":
    main()
