# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Build a site of the guides and of the documentation of all plugins and roles; a warning is an error.

``site.py DIRECTORY`` writes it to DIRECTORY/html. Nothing is downloaded: links into Ansible's own documentation become
text.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tke/overlay"

CONF = """\
project = "tke.overlay"
html_title = "tke.overlay"
extensions = ["sphinx_antsibull_ext", "myst_parser"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1200px", "sidebar_width": "260px", "fixed_sidebar": True}
html_show_sphinx = html_show_copyright = False
pygments_style = "ansible"
myst_heading_anchors = 3  # the anchors of GitHub, so that links work in both
"""

INDEX = """\
tke.overlay
===========

.. toctree::
   :maxdepth: 1
   :caption: Guides
   :glob:

   README
   docs/concepts
   docs/quick-start
   docs/glossary
   docs/*

.. toctree::
   :maxdepth: 1
   :caption: Reference
   :glob:

   reference/index
   reference/*
   CHANGELOG
"""

TERMS = """\
:orphan:

.. _common_return_values:
.. _action_plugins:
.. _ansible_configuration_settings:

In Ansible's own documentation
==============================

See Ansible's own documentation, at https://docs.ansible.com/: values that every module returns, action
plugins, and configuration settings.
"""
"""Targets to which the generated pages refer, and which are not part of this site."""


def run_quietly(*command: str) -> None:
    """Run a program, and print its output and exit if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout)


def main() -> None:
    """Build into the directory given by the only argument."""
    directory = Path(sys.argv[1]).resolve()
    source = directory / "source"
    shutil.rmtree(directory, ignore_errors=True)

    # The same places as in the collection, so that links between pages are the same, too.
    shutil.copytree(COLLECTION / "docs", source / "docs", ignore=shutil.ignore_patterns("docsite"))
    for name in ("README.md", "COPYING"):
        shutil.copy(COLLECTION / name, source / name)
    shutil.copy(COLLECTION / "CHANGELOG.md", source)
    (source / "conf.py").write_text(CONF, encoding="utf-8")
    (source / "index.rst").write_text(INDEX, encoding="utf-8")
    (source / "ansible.rst").write_text(TERMS, encoding="utf-8")

    reference = source / "reference"
    reference.mkdir()
    os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(ROOT / "collections")
    where = ("--dest-dir", str(reference))
    run_quietly("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", *where, "tke.overlay")
    run_quietly(
        *("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "--doctree-dir", str(directory / "doctrees")),
        *(str(source), str(directory / "html")),
    )
    print((directory / "html/index.html").relative_to(ROOT))


if __name__ == "__main__":
    main()
