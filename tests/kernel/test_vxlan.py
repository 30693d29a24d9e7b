# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The errors of the module ``vxlan``. Unlike the other tests here, this one needs Ansible."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import VARIABLES, LinkSpec, converge_link
from ansible_collections.tke.overlay.plugins.modules import vxlan

LINK = LinkSpec("tke0", 1, 8472, "10.0.1.11", mac="0a:58:0a:f4:00:00", mtu=1400, addresses=["10.244.0.0/32"])


def test_errors_name_the_settings_of_the_caller(run):
    """The module vxlan has its own options; its user does not necessarily use the inventory variables."""
    for line in ("link set eth0 mtu 1400", "link add tke0 type bridge", "link add other type vxlan id 1 dstport 8472"):
        run(["ip", *line.split()])
    problems = []
    for labels in (vxlan.LABELS, VARIABLES):
        with pytest.raises(ValidationError) as caught:
            converge_link(LINK, run, True, labels)
        problems.append(caught.value.problems)
    with pytest.raises(ValidationError) as caught:
        converge_link(LINK._replace(local="10.0.1.99"), run, True, vxlan.LABELS)
    options, variables = problems
    assert [text for text in [*options, *caught.value.problems] if "overlay_" in text] == []
    for option, variable, text in (
        ("(name)", "(overlay_device)", "device tke0 {} already exists"),
        ("set mtu to 1350 or less", "set overlay_underlay_mtu of this host to 1400", "requires 1450: {}"),
        ("(vni, port)", "(overlay_vni, overlay_port)", "VNI 1 on port 8472 {} belongs to"),
    ):
        assert any(text.format(option) in problem for problem in options)
        assert any(text.format(variable) in problem for problem in variables)
    assert any("10.0.1.99 (local) is not an address of this host" in problem for problem in caught.value.problems)
