# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Prepare a home directory in which ``ansible-test`` builds its environments from the package index alone.

This solves three problems. ``ansible-test`` downloads the script that installs pip from another site, unless the script
is in its cache: this tool puts a script there that unpacks a wheel of pip. ``ansible-test`` does not pass ``PIP_*``
variables to pip, which then reads its configuration files only: this tool writes the settings into such a file. And a
pre-release of ``ansible-test`` can require a package from a repository of source code: this tool lets it take the
package's release from the index.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from types import SimpleNamespace

import ansible_test
from ansible_test._internal.python_requirements import get_venv_packages

GET_PIP = '''\
"""Unpack the wheel of pip into the environment, and install the other packages that the arguments name.

A run builds ten environments. ensurepip and an upgrade of pip would take longer than most of the tests.
"""
import subprocess
import sys
import sysconfig
import zipfile

with zipfile.ZipFile({wheel!r}) as wheel:
    wheel.extractall(sysconfig.get_paths()["purelib"])
packages = [argument for argument in sys.argv[1:] if not argument.startswith(("-", "pip=="))]
if packages:
    subprocess.check_call([sys.executable, "-m", "pip", "install"] + packages)
'''


def pip_version() -> str:
    """Return the version of pip that the installed ansible-test requires in its environments."""
    python = SimpleNamespace(version=f"{sys.version_info.major}.{sys.version_info.minor}")
    return str(get_venv_packages(python)["pip"])


def pip_wheel(place: Path) -> Path:
    """Return the wheel of that version; download it if it is not in the directory."""
    name = f"pip-{pip_version()}-py3-none-any.whl"
    if not (place / name).exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", str(place), f"pip=={pip_version()}"], check=True)
    return place / name


def pip_settings() -> RawConfigParser:
    """Return the settings of pip from configuration files and environment variables; a variable overrides a file."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    settings = RawConfigParser()
    settings.add_section("global")
    from_environment: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        text = str(ast.literal_eval(value)).replace("\n", "\n    ")
        if section == ":env:":
            from_environment[option] = text
            continue
        if not settings.has_section(section):
            settings.add_section(section)
        settings.set(section, option, text)
    for option, text in from_environment.items():
        for section in settings.sections():
            settings.remove_option(section, option)
        settings.set("global", option, text)
    return settings


def use_releases(requirements: Path) -> None:
    """Replace each package from a repository by its release, in the requirements of the installed ansible-test."""
    for path in sorted(requirements.glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        released = re.sub(r"^([\w.-]+) @ https?://\S+", r"\1", text, flags=re.MULTILINE)
        if released != text:
            path.write_text(released, encoding="utf-8")


def main() -> None:
    """Prepare the home directory that the only argument names."""
    home = Path(sys.argv[1])

    script = home / f".ansible/test/cache/get_pip_{pip_version().replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(GET_PIP.format(wheel=str(pip_wheel(script.parent))), encoding="utf-8")

    use_releases(Path(ansible_test.__path__[0], "_data/requirements"))

    settings = pip_settings()
    settings["global"]["quiet"] = "2"
    config = home / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch(mode=0o600)  # the settings may contain credentials
    with config.open("w", encoding="utf-8") as file:
        settings.write(file)


if __name__ == "__main__":
    main()
