# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The colours of the page can be read in both themes."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.colors import COLORS, READABLE


def luminance(color):
    """The relative luminance of WCAG 2.1."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), READABLE)
def test_text_has_the_contrast_of_wcag_aa(theme, ink, ground):
    ink_color, ground_color = (getattr(COLORS[name], theme) for name in (ink, ground))
    bright, dim = sorted((luminance(ink_color), luminance(ground_color)), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5
