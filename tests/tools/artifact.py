# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Build the collection, install the artifact into an empty directory, and compare every file with the checkout.

``artifact.py DIRECTORY`` writes the artifact to DIRECTORY and installs the collection in DIRECTORY/installed, which can
be used as ``ANSIBLE_COLLECTIONS_PATH``.
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
CONSUMED = {"galaxy.yml"}  # the build turns it into MANIFEST.json
LEFT_OUT = ("tests/sanity/",)  # see build_ignore
REQUIRED = ("README.md", "COPYING", "meta/runtime.yml", "plugins", "roles", "playbooks", "docs", "changelogs")


def galaxy(*arguments: str) -> None:
    """Run ansible-galaxy; on failure, exit with its output."""
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
    """Return all files below a directory, as paths relative to it."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def sources() -> set[str]:
    """Return the files of the collection: those that git tracks, and untracked ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."],
        cwd=SOURCE,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    names = [name for name in listed.split("\0") if name and not name.startswith(LEFT_OUT)]
    return {name for name in names if (SOURCE / name).is_file()}


def problems_of(installed: Path) -> list[str]:
    """Return a line for each file that is unexpected in the artifact, missing, or different from its source."""
    wanted, there = (sources() | BUILT) - CONSUMED, files_of(installed)
    problems = [f"{name} is in the artifact, but not in git: see build_ignore" for name in sorted(there - wanted)]
    problems += [f"{name} is missing from the artifact" for name in sorted(wanted - there)]
    problems += [f"{name} is missing, but users need it" for name in REQUIRED if not (installed / name).exists()]
    problems += [
        f"{name} differs from the checkout"
        for name in sorted((wanted & there) - BUILT)
        if not filecmp.cmp(SOURCE / name, installed / name, shallow=False)
    ]
    return problems


def main() -> None:
    """Build into the directory that the only argument names."""
    directory = Path(sys.argv[1]).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)

    galaxy("build", str(SOURCE), "--output-path", str(directory))
    (artifact,) = directory.glob("*.tar.gz")
    # Forced, because ansible-galaxy would accept the collection of the checkout as installed.
    where = ("--collections-path", str(directory / "installed"))
    galaxy("install", "--offline", "--no-deps", "--force", str(artifact), *where)

    installed = directory / "installed/ansible_collections/tke/overlay"
    problems = problems_of(installed)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{artifact.relative_to(Path.cwd())}: {len(files_of(installed))} files, equal to the checkout")


if __name__ == "__main__":
    main()
