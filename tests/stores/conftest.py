# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Fixtures: an etcd cluster of three members in its own network namespace."""

from __future__ import annotations

import os
import re

import pytest

from members import Etcd, namespace


@pytest.fixture(scope="module")
def three_members(tmp_path_factory):
    with namespace():
        etcd = Etcd(tmp_path_factory.mktemp("etcd"))
        try:
            yield etcd
        finally:
            etcd.stop()


@pytest.fixture
def etcd(three_members):
    """Three running members without keys."""
    three_members.reset()
    return three_members


@pytest.fixture(autouse=True)
def no_login_from_outside(monkeypatch):
    """Remove the developer's own settings of etcdctl and proxies from the environment."""
    for name in list(os.environ):
        if re.match("ETCDCTL_|[A-Za-z]+_PROXY$|[a-z]+_proxy$", name):
            monkeypatch.delenv(name)
