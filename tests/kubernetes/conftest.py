# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Fixture: a stand-in of the API server."""

from __future__ import annotations

import os
import re

import pytest

from standin import ApiServer, make_certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Certificates for all stand-ins, because to make them takes longer than to start one."""
    directory = tmp_path_factory.mktemp("certificates")
    make_certificates(directory, "127.0.0.1")
    return directory


@pytest.fixture
def api_server(tmp_path, certificates):
    """A running stand-in without objects."""
    directory = tmp_path / "apiserver"
    directory.mkdir()
    server = ApiServer(directory, known=certificates)
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
