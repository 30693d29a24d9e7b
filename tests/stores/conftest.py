# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A real etcd of three members in a network namespace of its own, and the tests inside it."""

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
    """Three members, in order and empty."""
    three_members.mend()
    return three_members


@pytest.fixture(autouse=True)
def no_login_from_outside(monkeypatch):
    """What the developer's own etcdctl uses is not for these tests."""
    for name in list(os.environ):
        if re.match("ETCDCTL_|[A-Za-z]+_PROXY$|[a-z]+_proxy$", name):
            monkeypatch.delenv(name)
