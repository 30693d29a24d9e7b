# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Import the artifact as Galaxy does, with galaxy-importer; every error and every warning is a finding.

``importer.py ENVIRONMENT ARTIFACT`` installs galaxy-importer into a virtual environment of its own, because it pins
versions of attrs and flake8 that other tools of the project do not have. A second run uses it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("galaxy-importer==0.4.44", "ansible-core>=2.19,<2.20", "netaddr", "jmespath")

# The checks of the server that need nothing but the artifact. `make lint` and `make sanity` run ansible-lint, flake8's
# successor and ansible-test with the settings of the project.
SETTINGS = """\
[galaxy-importer]
CHECK_CHANGELOG = True
CHECK_REQUIRED_TAGS = True
CHECK_RUNTIME_YAML = True
REQUIRE_V1_OR_GREATER = True
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = False
RUN_ANSIBLE_TEST = False
RUN_FLAKE8 = False
"""


def environment(directory: Path) -> Path:
    """Return a virtual environment with the packages, installed if their list has changed."""
    stamp = directory / "packages.txt"
    wanted = "\n".join(PACKAGES)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        venv.create(directory, clear=True, with_pip=True)
        pip = [str(directory / "bin/pip"), "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return directory


def findings_of(output: str, status: int) -> list[str]:
    """Return the lines of the importer that name a problem; its last line if it failed without one."""
    lines = output.splitlines()
    found = [line for line in lines if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
    return found or ([lines[-1] if lines else f"exit code {status}"] if status else [])


def import_artifact(place: Path, artifact: Path) -> tuple[str, int]:
    """Run the importer, and return its output and its exit code."""
    settings = place / "importer.cfg"
    settings.write_text(SETTINGS, encoding="utf-8")
    # Without the collections of the checkout: the importer must find everything in the artifact.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
    done = subprocess.run(
        [place / "bin/python", "-m", "galaxy_importer.main", artifact],
        cwd=place,
        env={**inherited, "GALAXY_IMPORTER_CONFIG": str(settings), "PATH": f"{place}/bin:/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout, done.returncode


def main() -> None:
    """Import the artifact that the second argument names."""
    place, artifact = (Path(argument).resolve() for argument in sys.argv[1:])
    output, status = import_artifact(environment(place), artifact)
    findings = findings_of(output, status)
    if findings:
        sys.exit("\n".join(findings))
    print(f"{artifact.name}: Galaxy's importer has no finding")


if __name__ == "__main__":
    main()
