# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The version that hosts report in their metrics is that of the collection."""

from __future__ import annotations

import yaml

from ansible_collections.tke.overlay.plugins.module_utils._metrics import VERSION
from product import COLLECTION


def test_the_metrics_have_the_version_of_the_collection():
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"] == VERSION
