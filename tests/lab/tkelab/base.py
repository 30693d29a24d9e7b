# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The base tree: the Debian system that all hosts share as the read-only lower layer of their file systems."""

from __future__ import annotations

import hashlib
import platform
import time
from pathlib import Path

from . import cgroup
from .system import CACHE, LAB_DIR, LabError, Progress, call, locked, remove_tree, tail

PACKAGES = LAB_DIR / "base-packages.txt"
CUSTOMISE = LAB_DIR / "base-customise.sh"
BUILD_GROUP = "base_tree"  # not a valid name of a host
_LOCK = CACHE / "lock"
BUILD_SECONDS = 900
# Documentation and translations are half of the tree, and the lab does not need them.
_EXCLUDED = ("doc", "man", "locale", "info", "lintian", "bash-completion")


def packages(text: str) -> list[str]:
    """Return the names in a package list, which has one name per line and comments."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def suite() -> str:
    """Return the code name of this machine's Debian release.

    :raises LabError: when the machine does not run Debian.
    """
    pairs = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    values = {key: value.strip('"') for key, _, value in pairs}
    if values.get("ID") != "debian" or "VERSION_CODENAME" not in values:
        raise LabError(f"the lab builds its hosts from Debian, but this machine runs {values.get('ID')}")
    return values["VERSION_CODENAME"]


def sources(codename: str) -> list[str]:
    """Return the Debian package sources of this machine, as lines of a sources.list."""
    fields = "|".join(f"$({name})" for name in ("CODENAME", "REPO_URI", "RELEASE", "SIGNED_BY"))
    listing = call(
        "apt-get", "indextargets", "--format", f"{fields}|$(COMPONENT)",
        "Created-By: Packages", "Origin: Debian",
    )  # fmt: skip
    lines = []
    for line in listing.splitlines():
        name, uri, release, key, component = line.split("|")
        if name == codename or name.startswith(f"{codename}-"):
            options = "" if key.startswith("$") or not key else f"[signed-by={key}] "
            lines.append(f"deb {options}{uri} {release} {component}")
    if not lines:
        raise LabError(f"apt has no Debian package source for {codename}; run `apt-get update`")
    return sorted(set(lines))


def path() -> Path:
    """Return the directory of the tree that belongs to the current package list, built or not."""
    recipe = "\n".join([suite(), platform.machine(), CUSTOMISE.read_text(), *_EXCLUDED])
    wanted = recipe + "\n" + "\n".join(sorted(packages(PACKAGES.read_text())))
    return CACHE / f"base-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


def ensure(progress: Progress) -> Path:
    """Build the tree if it does not exist, and return its directory."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(progress, _LOCK):
        tree = path()
        if not tree.is_dir():
            _make(tree, progress)
        return tree


def _make(tree: Path, progress: Progress) -> None:
    names = packages(PACKAGES.read_text())
    progress.report("base tree", f"building it from {len(names)} packages (about a minute)")
    beside = tree.with_name(tree.name + ".new")
    discard(beside)
    _build(names, beside)
    beside.rename(tree)
    progress.report("base tree", f"built, {_megabytes(tree)} MB in {tree}")


def _build(names: list[str], target: Path) -> None:
    log = CACHE / "build.log"
    log.unlink(missing_ok=True)
    codename = suite()
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _EXCLUDED]
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(names)}",
        '--aptopt=Acquire::Languages "none"', *excluded, f"--customize-hook={CUSTOMISE}",
        codename, str(target), *sources(codename),
    ]  # fmt: skip
    process = cgroup.spawn(BUILD_GROUP, command, log)
    deadline = time.monotonic() + BUILD_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            cgroup.kill(BUILD_GROUP)
            raise LabError(f"building the base tree took more than {BUILD_SECONDS} s, see {log}")
        time.sleep(0.1)
    cgroup.kill(BUILD_GROUP)
    cgroup.remove(BUILD_GROUP)
    if process.returncode:
        raise LabError(f"building the base tree failed, see {log}:\n{tail(log)}")


def discard(tree: Path) -> None:
    """Delete a tree, complete or partly built."""
    cgroup.kill(BUILD_GROUP)
    remove_tree(tree)


def discard_unused(progress: Progress, keep: Path | None) -> None:
    """Delete every tree except `keep` and those that hosts of another lab use."""
    if CACHE.is_dir():
        with locked(progress, _LOCK):
            for tree in CACHE.glob("base-*"):
                if tree != keep and not _is_in_use(tree):
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
