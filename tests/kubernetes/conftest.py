# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Fixture: a stand-in of the API server."""

from __future__ import annotations

import os
import re

import pytest

from standin import ApiServer


@pytest.fixture
def api_server(tmp_path):
    """A running stand-in without objects."""
    directory = tmp_path / "apiserver"
    directory.mkdir()
    server = ApiServer(directory)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch):
    """Remove the developer's own proxies from the environment."""
    for name in list(os.environ):
        if re.match("(?i)[a-z]+_proxy$|KUBECONFIG$", name):
            monkeypatch.delenv(name)
