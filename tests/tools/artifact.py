# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Build the collection, install the artifact into an empty directory, and look at every file of it.

``artifact.py DIRECTORY`` leaves the artifact in DIRECTORY and the installed collection in DIRECTORY/installed, to be
named in ``ANSIBLE_COLLECTIONS_PATH``.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "collections/ansible_collections/tke/overlay"

BUILT = {"MANIFEST.json", "FILES.json"}
CONSUMED = {"galaxy.yml"}  # becomes the manifest
USERS_NEED = ("README.md", "COPYING", "meta/runtime.yml", "plugins", "roles", "playbooks", "docs", "changelogs")


def galaxy(*arguments: str) -> None:
    """Run ansible-galaxy, which must succeed; what it says is shown only if it does not."""
    done = subprocess.run(
        ["ansible-galaxy", "collection", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.stdout)


def files_of(directory: Path) -> set[str]:
    """All files below a directory, as paths relative to it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def sources() -> set[str]:
    """What belongs to the collection: all that git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."],
        cwd=SOURCE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return {name for name in listed.split("\0") if name and (SOURCE / name).is_file()}


def problems_of(installed: Path) -> list[str]:
    """Files that should not be in the artifact, that are missing from it, or that differ from their source."""
    wanted, there = (sources() | BUILT) - CONSUMED, files_of(installed)
    problems = [f"{name} is in the artifact, and git does not know it: build_ignore" for name in sorted(there - wanted)]
    problems += [f"{name} is missing from the artifact" for name in sorted(wanted - there)]
    problems += [
        f"{name} is needed by users, and is not there" for name in USERS_NEED if not (installed / name).exists()
    ]
    problems += [
        f"{name} is not as it is in the tree"
        for name in sorted((wanted & there) - BUILT)
        if not filecmp.cmp(SOURCE / name, installed / name, shallow=False)
    ]
    return problems


def main() -> None:
    """Build into the directory named by the only argument."""
    directory = Path(sys.argv[1]).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)

    galaxy("build", str(SOURCE), "--output-path", str(directory))
    (artifact,) = directory.glob("*.tar.gz")
    # Forced, or it would be content with the one in the tree.
    where = ("--collections-path", str(directory / "installed"))
    galaxy("install", "--offline", "--no-deps", "--force", str(artifact), *where)

    installed = directory / "installed/ansible_collections/tke/overlay"
    problems = problems_of(installed)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{artifact.relative_to(Path.cwd())}: {len(files_of(installed))} files, as in the tree")


if __name__ == "__main__":
    main()
