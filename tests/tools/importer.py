# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Import the built collection as Ansible Galaxy does; every warning or error of galaxy-importer is a failure.

``importer.py ARTIFACT DIRECTORY`` installs galaxy-importer in DIRECTORY, in an environment of its own, because it
chooses its own versions of ansible-core and ansible-lint.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "galaxy-importer==0.4.44"
FINDING = re.compile(r"^(WARNING|ERROR|CRITICAL):|Traceback", re.MULTILINE)


def environment(directory: Path) -> Path:
    """Return the directory of the programs of the environment; make it if it has another release."""
    programs, stamp = directory / "bin", directory / "requirement"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == REQUIREMENT):
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        pip = [str(programs / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, REQUIREMENT], check=True)
        stamp.write_text(REQUIREMENT, encoding="utf-8")
    return programs


def run(artifact: Path, programs: Path) -> str:
    """Return what galaxy-importer prints, with a line of its own if it fails without one."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    with tempfile.TemporaryDirectory() as scratch:  # the importer writes its result into the current directory
        done = subprocess.run(
            [programs / "python", "-m", "galaxy_importer.main", artifact],
            cwd=scratch,
            env={**variables, "HOME": scratch, "PATH": f"{programs}:{variables['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    failed = done.returncode != 0 and not FINDING.search(done.stdout)
    return f"{done.stdout}ERROR: exit code {done.returncode}\n" if failed else done.stdout


def main() -> None:
    """Import the artifact that the first argument names."""
    artifact, directory = (Path(argument).resolve() for argument in sys.argv[1:])
    printed = run(artifact, environment(directory))
    findings = [line for line in printed.splitlines() if FINDING.search(line)]
    if findings or "processing completed successfully" not in printed:
        sys.exit("\n".join(["galaxy-importer:", *(findings or [printed])]))
    print(f"{artifact.name}: galaxy-importer has no findings")


if __name__ == "__main__":
    main()
