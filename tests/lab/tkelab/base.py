# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The base trees: a Debian system per suite, the read-only lower layer of the file systems of its hosts."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cgroup
from .system import CACHE, LAB_DIR, LabError, Progress, call, locked, remove_tree, tail

PACKAGES = LAB_DIR / "base-packages.txt"  # of every tree; base-packages-TREE.txt, if it exists, has further ones
CUSTOMISE = LAB_DIR / "base-customise.sh"
_LOCK = CACHE / "lock"
BUILD_SECONDS = 900
# Documentation and translations are half of the tree, and the lab does not need them.
_EXCLUDED = ("doc", "man", "locale", "info", "lintian", "bash-completion")
_UNSTABLE = ("sid", "unstable")  # suites without updates, whose lists are valid for a week


def packages(text: str) -> list[str]:
    """Return the names in a package list, which has one name per line and comments."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def packages_of(tree: str) -> list[str]:
    """Return the packages of a tree: of a suite, or of SUITE+EXTRA, which has further ones."""
    further = [PACKAGES.with_name(f"{PACKAGES.stem}-{name}{PACKAGES.suffix}") for name in (suite_of(tree), tree)]
    names = [name for path in (PACKAGES, *further) if path.exists() for name in packages(path.read_text())]
    return list(dict.fromkeys(names))


def suite_of(tree: str) -> str:
    """Return the Debian suite of a tree."""
    return tree.partition("+")[0]


def own_suite() -> str:
    """Return the code name of this machine's Debian release.

    :raises LabError: when the machine does not run Debian.
    """
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    values = {key: value.strip('"') for key, _, value in pairs}
    if values.get("ID") != "debian" or "VERSION_CODENAME" not in values:
        raise LabError(f"the lab builds its hosts from Debian, but this machine runs {values.get('ID')}")
    return values["VERSION_CODENAME"]


def sources(suite: str) -> list[str]:
    """Return the package sources of a suite, as lines of a sources.list: those of this machine, with that suite."""
    codename = own_suite()
    fields = "|".join(f"$({name})" for name in ("CODENAME", "REPO_URI", "SIGNED_BY"))
    listing = call(
        "apt-get", "indextargets", "--format", f"{fields}|$(COMPONENT)",
        "Created-By: Packages", "Origin: Debian",
    )  # fmt: skip
    lines = []
    for line in listing.splitlines():
        name, uri, key, component = line.split("|")
        if name != codename and not name.startswith(f"{codename}-"):
            continue
        if suite in _UNSTABLE and name != codename:
            continue
        options = "" if key.startswith("$") or not key else f"[signed-by={key}] "
        lines.append(f"deb {options}{uri} {name.replace(codename, suite)} {component}")
    if not lines:
        raise LabError(f"apt has no Debian package source for {codename}; run `apt-get update`")
    return sorted(set(lines))


def path(tree: str) -> Path:
    """Return the directory of a tree with its current package lists, built or not."""
    recipe = "\n".join([tree, platform.machine(), CUSTOMISE.read_text(), *_EXCLUDED, *sorted(packages_of(tree))])
    return CACHE / f"base-{tree}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure(progress: Progress, names: Iterable[str]) -> dict[str, Path]:
    """Build the missing trees at the same time, and return tree -> directory."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(progress, _LOCK):
        trees = {name: path(name) for name in sorted(set(names))}
        missing = [name for name, tree in trees.items() if not tree.is_dir()]
        with ThreadPoolExecutor(max(len(missing), 1)) as pool:
            builds = [pool.submit(_make, name, trees[name], progress) for name in missing]
        for build in builds:
            build.result()
    return trees


def _make(name: str, tree: Path, progress: Progress) -> None:
    names = packages_of(name)
    progress.report(name, f"building the base tree from {len(names)} packages (a minute or two)")
    beside = tree.with_name(tree.name + ".new")
    discard(beside)
    _build(name, names, beside)
    beside.rename(tree)
    progress.report(name, f"base tree built, {_megabytes(tree)} MB in {tree}")


def _build(name: str, names: list[str], target: Path) -> None:
    suite = suite_of(name)
    log = CACHE / f"build-{name}.log"
    log.unlink(missing_ok=True)
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
    lasting = ['--aptopt=Acquire::Check-Valid-Until "false"'] if suite in _UNSTABLE else []
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(names)}",
        '--aptopt=Acquire::Languages "none"', *lasting, *excluded, f"--customize-hook={CUSTOMISE}",
        suite, str(target), *sources(suite),
    ]  # fmt: skip
    group = _build_group(target)
    process = cgroup.spawn(group, command, log)
    deadline = time.monotonic() + BUILD_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            cgroup.kill(group)
            raise LabError(f"building the base tree of {name} took more than {BUILD_SECONDS} s, see {log}")
        time.sleep(0.1)
    cgroup.kill(group)
    cgroup.remove(group)
    if process.returncode:
        raise LabError(f"building the base tree of {name} failed, see {log}:\n{tail(log)}")


def _build_group(tree: Path) -> str:
    return f"base_{tree.name}"  # not a valid name of a host


def is_build_group(name: str) -> bool:
    """Return whether a group of processes builds a tree."""
    return name.startswith("base_")


def discard(tree: Path) -> None:
    """Delete a tree, complete or partly built."""
    cgroup.kill(_build_group(tree))
    remove_tree(tree)


def discard_outdated(progress: Progress) -> None:
    """Delete the trees of former package lists, except those that hosts of another lab use."""
    with locked(progress, _LOCK):
        for tree in CACHE.glob("base-*"):
            if tree != path(tree.name.split("-")[1]) and not _is_in_use(tree):
                discard(tree)


def discard_all(progress: Progress) -> None:
    """Delete every tree except those that hosts of another lab use."""
    if CACHE.is_dir():
        with locked(progress, _LOCK):
            for tree in CACHE.glob("base-*"):
                if not _is_in_use(tree):
                    discard(tree)
            if not any(CACHE.glob("base-*")):
                remove_tree(CACHE)


def discard_unfinished(progress: Progress) -> None:
    """Delete partly built trees."""
    if CACHE.is_dir():
        with locked(progress, _LOCK):
            for tree in CACHE.glob("base-*.new"):
                discard(tree)


def _is_in_use(tree: Path) -> bool:
    return f"lowerdir={tree}," in Path("/proc/self/mountinfo").read_text()


def _megabytes(tree: Path) -> int:
    return int(call("du", "-sm", str(tree)).split()[0])
