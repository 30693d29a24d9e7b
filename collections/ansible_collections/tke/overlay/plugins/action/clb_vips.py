# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module clb_vips; its documentation is in plugins/modules/clb_vips.py."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import (
    PAIR,
    PROVIDERS,
    VIP_NAMES,
    Claim,
    VipSpec,
    choose,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown
from ansible_collections.tke.overlay.plugins.plugin_utils._certificates import read_ca
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import variables_of
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import OneValue
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    settings_of,
)

ADDRESS_VARIABLES = ("ansible_host", "overlay_underlay_ip")
"""The variables of a host that contain its addresses."""

CLUSTER_VARIABLES = tuple(
    f"overlay_{name}"
    for name in (
        *("cluster", "container_cidr", "max_pods_per_node", "max_services", "reserved", "ledger"),
        *("clb_subnet", "clb_reserved", "clb_gateway", "clb_provider", "clb_vips", "clb_services"),
        *("api_port", "api_ca"),
    )
)
"""The variables of the nodes and of the pair that must be the same for all of them."""


PAIR_VARIABLES = ("overlay_clb_listeners", "overlay_clb_vrid")
"""The variables of the pair that must be the same for both hosts: otherwise each would be master of its own."""


class ActionModule(LedgerAction):
    """Keeps the two addresses of the private load balancer in the ledger."""

    options: t.ClassVar[dict[str, t.Any]] = {
        **CLUSTER_OPTIONS,
        "provider": {"type": "str", "choices": list(PROVIDERS), "default": PAIR},
        "subnet": {"type": "str"},
        "subnet_gateway": {"type": "str"},
        "subnet_reserved": {"type": "list", "elements": "str", "default": []},
        "vips": {"type": "dict", "default": {}},
        "api_ca": {"type": "str"},
        "group": {"type": "str", "default": "clb"},
        "nodes_group": {"type": "str", "default": "overlay_nodes"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    }
    variables: t.ClassVar[dict[str, str]] = {
        **LedgerAction.variables,
        "provider": "overlay_clb_provider",
        "subnet": "overlay_clb_subnet",
        "vips": "overlay_clb_vips",
        "subnet_gateway": "overlay_clb_gateway",
        "subnet_reserved": "overlay_clb_reserved",
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Choose missing VIPs and check the others, or release both."""
        settings, released = settings_of(given), given["state"] == "absent"
        addresses, problems = ([], []) if released else survey_hosts(given, task_vars)
        problems += [] if released else self._ca_problems(given["api_ca"])

        def change(text: str | None, where: str, _now: str) -> Ledger:
            if released and text is None:
                raise ValidationError(
                    f"there is no ledger at {where}, so the VIPs cannot be released: check overlay_ledger and the "
                    f"inventory (-i)"
                )
            # In check mode, the plan has not written the ledger that it would renew.
            ledger = planner.load_or_create(settings, text, where, renew=True)
            if released:
                ledger.vips = {}
                return ledger
            spec = VipSpec(
                provider=given["provider"],
                subnet=given["subnet"],
                gateway=given["subnet_gateway"],
                reserved=given["subnet_reserved"],
                pins={name: address for name, address in given["vips"].items() if address not in (None, "")},
                addresses=[*addresses, *planner.claims_of_ledger(ledger, besides=task_vars["hostvars"])],
                ranges=planner.ranges_of(ledger.pool),
            )
            try:
                ledger.vips = choose(spec, ledger.vips)
            except ValidationError as error:
                raise ValidationError(*problems, *error.problems) from None
            if problems:
                raise ValidationError(*problems)
            return ledger

        ledger, result = self.change_ledger(given["ledger"], change, require_writable=released)
        return {**result, **{name: ledger.vips.get(name, "") for name in VIP_NAMES}}

    def _ca_problems(self, path: str | None) -> list[str]:
        """Return why the CA of the API server cannot be used: hosts would find that after others were changed."""
        if path is None:
            return []
        try:
            read_ca(path, lambda name: self._find_needle("files", name), self._loader)
        except ValidationError as error:
            return error.problems
        return []


def survey_hosts(given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> tuple[list[Claim], list[str]]:
    """Return the addresses of all hosts, and the problems of the inventory. Each host's variables are read once."""
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    pair = list(groups.get(given["group"], []))
    concerned = {*pair, *groups.get(given["nodes_group"], [])}
    addresses, problems = [], []
    values, values_of_pair = OneValue(CLUSTER_VARIABLES), OneValue(PAIR_VARIABLES)
    if given["provider"] == PAIR and len(pair) != 2:
        names = f" ({', '.join(pair)})" if pair else ""
        problems.append(
            f"group {given['group']} has {len(pair) or 'no'} hosts{names}, and the pair needs exactly two: "
            f"put two hosts into the group, set overlay_clb_provider to external, or unset overlay_clb_subnet"
        )
    for name in groups.get("all", []):
        reading = "a variable"
        try:
            variables = variables_of(hostvars, name)
            for reading in ADDRESS_VARIABLES:
                text = variables.get(reading)
                addresses += [Claim(text, f"host {name} ({reading})")] if isinstance(text, str) else []
            reading = "a variable"
            if name in concerned:
                values.note(name, variables)
            if name in pair:
                values_of_pair.note(name, variables)
        except Exception as error:  # a template can raise anything; ansible-core 2.18 wraps only some of it
            reason = " ".join(str(error).split())
            problems.append(f"host {shown(name)[1:-1]}: {reading} cannot be evaluated: {reason}")
    problems += values.problems("group_vars/all", ", nodes and hosts of the pair")
    return addresses, [*problems, *values_of_pair.problems("the group_vars of clb", ", which has one pair")]
