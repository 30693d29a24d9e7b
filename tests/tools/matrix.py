# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Run ansible-test with every supported combination of ansible-core and Python on this machine, and print a table.

``matrix.py DIRECTORY`` makes a virtual environment in DIRECTORY for each combination. It finds Python interpreters in
PATH and in the directory of pyenv; a combination without its interpreter is "not run", which is no failure.
``matrix.py DIRECTORY '2.22'`` runs only the rows whose first three columns contain that regular expression. The checks
are:

- for the controller: sanity and unit tests with each ansible-core, from the oldest that ``meta/runtime.yml`` allows;
- for the controller: the scenario ``default`` with the oldest and the newest ansible-core, in a lab of its own;
- for managed hosts: the code that runs there compiles and imports with each Python from 3.8 on, and its unit tests pass
  with each Python from 3.9 on (pytest requires 3.9);
- for managed hosts: these unit tests, and those on the kernel, with Python and the programs of each Debian suite.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tke/overlay"

# ansible-core -> the Python versions it supports on a controller (its release notes).
CORES = {
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
    "2.22": ("3.13", "3.14"),
}
LIBRARIES = ("netaddr", "jmespath", "etcd3gw", "hypothesis", "pytest", "pytest-mock", "pytest-xdist", "mock", "pyyaml")

PRE_RELEASES = ("2.22",)
"""The series of which there is no release yet: its newest candidate is taken."""

SUITES = ("bullseye", "bookworm", "trixie", "sid")
"""The Debian suites of managed hosts; the lab builds their base trees."""

SCENARIO_LIBRARIES = ("molecule", "pytest-testinfra", *LIBRARIES)
SUITE_LIBRARIES = (
    *("pytest==8.4.2", "iniconfig==2.1.0", "attrs==25.3.0", "packaging==25.0", "hypothesis==6.141.1"),
    *("pluggy", "pygments", "sortedcontainers", "exceptiongroup", "tomli", "typing-extensions"),
    *("pyyaml", "cryptography", "cffi", "pycparser"),
)
"""For every Python from 3.9 on. Pinned, because pip selects for its own Python, and not for that of the suite."""

HOSTS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
HOST_LIBRARIES = ("cryptography", "hypothesis", "pytest", "pyyaml")
UNITS = COLLECTION / "tests/unit/plugins/module_utils"
NOT_OF_HOSTS = ("_cluster", "_module", "ansible.module_utils", "plugins.modules", "plugins.action", "plugin_utils")
"""A test that imports one of these needs the code of the controller side, or Ansible."""


def pythons() -> dict[str, Path]:
    """Return a working interpreter for each version that this machine has."""
    found: dict[str, Path] = {}
    for version in HOSTS:
        candidates = [Path("/usr/bin", f"python{version}"), Path(shutil.which(f"python{version}") or "/nowhere")]
        candidates += sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python{version}"))
        for candidate in candidates:
            if candidate.exists() and works(candidate, version):
                found[version] = candidate
                break
    return found


def works(python: Path, version: str) -> bool:
    """Return whether the interpreter has that version and can make virtual environments."""
    script = f"import ssl, sys, venv; sys.exit(sys.version_info[:2] != {tuple(map(int, version.split('.')))})"
    return subprocess.run([python, "-c", script], stderr=subprocess.DEVNULL, check=False).returncode == 0


def environment_of(directory: Path, core: str, python: Path) -> Path | None:
    """Return a virtual environment with that ansible-core, or None if pip finds no release that fits."""
    place = directory / f"{core}-{python.name}"
    if not (place / "bin/ansible-test").exists():
        subprocess.run([python, "-m", "venv", "--clear", place], check=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        log = place / "pip.log"
        with log.open("w", encoding="utf-8") as stream:
            wanted = [core_requirement(core), *LIBRARIES]
            done = subprocess.run([*pip, *wanted], stdout=stream, stderr=stream, check=False)
        if done.returncode != 0:
            return None
    return place


def core_requirement(core: str) -> str:
    """Return what pip installs for a series of ansible-core: a pre-release only where there is nothing else."""
    return f"ansible-core=={core}.*" + (",>=2.0.0a0" if core in PRE_RELEASES else "")


def ansible_test(directory: Path, place: Path, pythons_in_path: list[Path], *arguments: str) -> str:
    """Run ansible-test on a copy of the collection; return "ok", or the path of its log."""
    copy = directory / f"work-{place.name}/ansible_collections/tke/overlay"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(COLLECTION, copy, ignore=shutil.ignore_patterns("__pycache__", "output", ".*"))
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)  # ansible-test lists its files with git

    shims = directory / f"bin-{place.name}"
    shutil.rmtree(shims, ignore_errors=True)
    shims.mkdir()
    for python in pythons_in_path:
        (shims / python.name).symlink_to(python)
    home = directory / f"home-{place.name}"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTEST_"))},
        "PATH": f"{place}/bin:{shims}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
    }
    prepare = ROOT / "tests/tools/prepare_ansible_test.py"
    subprocess.run([place / "bin/python", prepare, home], env=environment, check=True)
    log = directory / f"{place.name}-{'-'.join(arguments).replace('--', '')}.log"
    with log.open("w", encoding="utf-8") as stream:
        command = [str(place / "bin/ansible-test"), *arguments, "--color", "no"]
        done = subprocess.run(command, cwd=copy, env=environment, stdout=stream, stderr=stream, check=False)
    return "ok" if done.returncode == 0 else f"FAILED: {log.relative_to(ROOT)}"


def host_tests() -> list[Path]:
    """Return the test files of the code that runs on hosts: ``_host``, and the modules beside it that need no Ansible.

    :raises SystemExit: when there are none, because then the check would pass without a test.
    """
    # The test of the layers reads source code, which is the same for every Python.
    candidates = [*UNITS.glob("test_*.py"), *(UNITS / "_host").rglob("test_*.py")]
    candidates = [path for path in candidates if path.name != "test_layers.py"]
    tests = without_ansible(candidates)
    if not any("_host" in path.parts for path in tests) or UNITS / "test_addressing.py" not in tests:
        sys.exit(f"no unit tests of the host side below {UNITS.relative_to(ROOT)}")
    return tests


def without_ansible(candidates: list[Path]) -> list[Path]:
    """Return the files that import neither the code of the controller side nor Ansible."""
    return [path for path in sorted(candidates) if not imported_by(path) & set(NOT_OF_HOSTS)]


def imported_by(path: Path) -> set[str]:
    """Return which of NOT_OF_HOSTS the import statements of a file name."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {word for word in NOT_OF_HOSTS for name in names if f".{word}." in f".{name}."}


def host_units(directory: Path, python: Path) -> str:
    """Run the unit tests of the host side; return "ok", or the path of the log."""
    place = directory / f"host-{python.name}"
    log = directory / f"{place.name}-units.log"
    with log.open("w", encoding="utf-8") as stream:
        if not (place / "bin/pytest").exists():
            subprocess.run([python, "-m", "venv", "--clear", place], check=True)
            pip = [str(place / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            if subprocess.run([*pip, *HOST_LIBRARIES], stdout=stream, stderr=stream, check=False).returncode != 0:
                return f"not run: pip finds no pytest for this Python: {log.relative_to(ROOT)}"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "collections"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [str(place / "bin/python"), "-m", "pytest", *OPTIONS, *map(str, host_tests())]
        done = subprocess.run(command, cwd=directory, env=environment, stdout=stream, stderr=stream, check=False)
    return "ok" if done.returncode == 0 else f"FAILED: {log.relative_to(ROOT)}"


OPTIONS = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", str(ROOT), "--hypothesis-profile=ci"]
OPTIONS += ["--import-mode=importlib", "-o", "consider_namespace_packages=true"]
"""Arguments of pytest for the tests of the host side, without the settings of the project."""

NEEDS_WIREGUARD = re.compile(r"^from wireguard import|wireguard_key import", re.MULTILINE)
"""Tests on the kernel that need wg and wireguard-go, which not every suite has."""

LAB = ROOT / "tests/lab/lab"


def suite_tests(directory: Path, suite: str) -> str:
    """Run the tests of the host side with Python and the programs of a suite; return "ok", or the path of the log."""
    log = directory / f"suite-{suite}.log"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run([LAB, "tree", suite], stdout=subprocess.PIPE, stderr=stream, text=True, check=False)
        if done.returncode != 0:
            return f"FAILED: {log.relative_to(ROOT)}"
        inside = [str(ROOT / "tests/tools/in_suite.sh"), done.stdout.splitlines()[-1]]
        script = "import sys; print('%d.%d' % sys.version_info[:2])"
        asked = [*inside, str(ROOT), "--", "python3", "-c", script]
        version = subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        libraries = directory / f"suite-libraries-{version}"
        if not (libraries / "pytest").is_dir():
            pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
            pip += ["--target", str(libraries), "--python-version", version, "--only-binary", ":all:"]
            if subprocess.run([*pip, *SUITE_LIBRARIES], stdout=stream, stderr=stream, check=False).returncode != 0:
                return f"not run: pip finds no pytest for Python {version}: {log.relative_to(ROOT)}"
        tests = [*host_tests(), *without_ansible([*(ROOT / "tests/kernel").glob("test_*.py")])]
        if not Path(done.stdout.splitlines()[-1], "usr/bin/wireguard-go").exists():
            tests = [path for path in tests if not NEEDS_WIREGUARD.search(path.read_text(encoding="utf-8"))]
        paths = f"PYTHONPATH={ROOT}/collections:{ROOT}/tests/kernel:{libraries}"
        command = [*inside, str(ROOT), str(libraries), "--", paths, "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1"]
        command += ["python3", "-m", "pytest", *OPTIONS, *map(str, tests)]
        done = subprocess.run(command, cwd=ROOT, stdout=stream, stderr=stream, text=True, check=False)
    return f"ok with Python {version}" if done.returncode == 0 else f"FAILED: {log.relative_to(ROOT)}"


def scenario(directory: Path, core: str, python: Path) -> str:
    """Run the scenario ``default`` with that ansible-core on a new lab; return "ok", or the path of the log."""
    place = directory / f"scenario-{core}-{python.name}"
    log = directory / f"{place.name}.log"
    environment = {**os.environ, "TKE_LAB": "matrix"}
    with log.open("w", encoding="utf-8") as stream:
        if not (place / "bin/molecule").exists():
            subprocess.run([python, "-m", "venv", "--clear", place], check=True)
            pip = [str(place / "bin/python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
            wanted = [core_requirement(core), *SCENARIO_LIBRARIES]
            if subprocess.run([*pip, *wanted], stdout=stream, stderr=stream, check=False).returncode != 0:
                return f"not run: pip finds no molecule for this ansible-core: {log.relative_to(ROOT)}"
        status = 0
        path = f"PATH={place}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        for words in (["down"], ["up"], ["run", "env", path, "molecule", "test", "-s", "default"], ["down"]):
            run = subprocess.run([LAB, *words], cwd=ROOT, env=environment, stdout=stream, stderr=stream, check=False)
            status = status or run.returncode
    return "ok" if status == 0 else f"FAILED: {log.relative_to(ROOT)}"


class Row(NamedTuple):
    """A line of the table: ansible-core or the kind of host, Python, the check, and what runs it."""

    core: str
    version: str
    check: str
    run: Callable[[], str]

    @property
    def title(self) -> str:
        """The first three columns."""
        return f"{self.core:14} {self.version:8} {self.check:18}"


def core_check(directory: Path, core: str, python: Path, test: str) -> str:
    """Run the sanity or the unit tests with that ansible-core; return "ok", or why not."""
    place = environment_of(directory, core, python)
    if place is None:
        return "not run: pip finds no such ansible-core for this Python"
    return ansible_test(directory, place, [], test, "--python", python.name.removeprefix("python"))


def host_check(directory: Path, core: str, controller: Path, host: Path) -> str:
    """Compile and import the code of hosts with a Python; return "ok", or why not."""
    place = environment_of(directory, core, controller)
    if place is None:
        return "not run: pip finds no such ansible-core"
    arguments = ("--test", "compile", "--test", "import", "--python", host.name.removeprefix("python"))
    return ansible_test(directory, place, [host], "sanity", *arguments)


def no_python() -> str:
    """Return the result of a row whose interpreter is missing."""
    return "not run: this machine has no such Python"


def rows(directory: Path, there: dict[str, Path]) -> Iterator[Row]:
    """Yield all rows, without running them."""
    for core, versions in CORES.items():
        for version in versions:
            for test in ("sanity", "units"):
                if version in there:
                    run = functools.partial(core_check, directory, core, there[version], test)
                    yield Row(core, version, test, run)
                else:
                    yield Row(core, version, test, no_python)
    core, version = newest(there)
    for host, python in there.items():
        run = functools.partial(host_check, directory, core, there[version], python)
        yield Row(f"host, {core}", host, "compile, import", run)
        if host != "3.8":
            yield Row("host", host, "units", functools.partial(host_units, directory, python))
    for suite in SUITES:
        yield Row(f"host, {suite}", "its own", "units, kernel", functools.partial(suite_tests, directory, suite))
    for core in (min(CORES, key=numbers), max(CORES, key=numbers)):
        version = next((each for each in CORES[core] if each in there), "")
        if version:
            run = functools.partial(scenario, directory, core, there[version])
            yield Row(core, version, "scenario default", run)
        else:
            yield Row(core, CORES[core][0], "scenario default", no_python)


def numbers(version: str) -> list[int]:
    """Return a version as numbers, for sorting."""
    return [int(part) for part in version.split(".")]


def newest(there: dict[str, Path]) -> tuple[str, str]:
    """Return the newest ansible-core that still supports Python 3.8 on hosts, and a Python for it."""
    for core in ("2.19", "2.18"):
        for version in CORES[core]:
            if version in there:
                return core, version
    sys.exit("this machine has no Python for ansible-core 2.18 or 2.19")


def main() -> None:
    """Run the checks in the directory of the first argument, all or those that the second argument selects."""
    directory, wanted = Path(sys.argv[1]).resolve(), re.compile(sys.argv[2] if len(sys.argv) > 2 else "")
    directory.mkdir(parents=True, exist_ok=True)
    selected = [row for row in rows(directory, pythons()) if wanted.search(row.title)]
    if not selected:
        sys.exit(f"no row has {wanted.pattern}")
    print(f"{'ansible-core':14} {'Python':8} {'check':18} result", flush=True)
    failed = False
    for row in selected:
        start = time.monotonic()
        result = row.run()
        seconds = "" if result.startswith("not run") else f" ({time.monotonic() - start:.0f} s)"
        print(f"{row.title} {result}{seconds}", flush=True)
        failed |= result.startswith("FAILED")
    sys.exit(failed)


if __name__ == "__main__":
    main()
