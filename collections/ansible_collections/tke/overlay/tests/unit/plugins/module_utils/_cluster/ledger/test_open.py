# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which store a value of overlay_ledger opens."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


def test_path_is_a_file_and_unknown_scheme_is_rejected(tmp_path):
    place = tmp_path / "ledger"
    assert open_store(str(place)).where == str(place)
    with pytest.raises(ValidationError, match=r"http://"):
        open_store("http://x/etcd://y/z")
