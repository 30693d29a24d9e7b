# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup of the ledger."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: ledger
short_description: Reads the ledger, the record of which node has which node CIDR
version_added: 1.0.0
description:
  - Reads the ledger from its file or from etcd, and returns it, or what a JMESPath expression finds in it.
  - Nothing is locked and nothing is changed. A ledger that is truncated, edited, moved or of another
    cluster is an error.
author:
  - tke.overlay contributors (@tke-overlay)
requirements:
  - netaddr (on the controller)
  - jmespath (on the controller; with a query only)
  - etcd3gw (on the controller; for a ledger in etcd only)
options:
  _terms:
    description:
      - JMESPath expressions. Each returns one result.
      - Without any, and without O(query), the result is the whole document, without its checksum.
    type: list
    elements: str
  query:
    description: A JMESPath expression, the same as a single term.
    type: str
  ledger:
    description:
      - The ledger, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
      - The default is C(overlay-ledger.json) beside the inventory.
    type: str
    vars:
      - name: overlay_ledger
  cluster:
    description:
      - The identity of the cluster. A ledger of another cluster is an error.
      - Without this option, any ledger is read.
    type: str
    vars:
      - name: overlay_cluster
seealso:
  - module: tke.overlay.ledger
"""

EXAMPLES = r"""
- name: The node CIDR of one node
  ansible.builtin.debug:
    msg: "{{ lookup('tke.overlay.ledger', query='nodes.cloud1.node_cidr') }}"

- name: The node CIDR of a node whose name has a dot or a dash
  ansible.builtin.debug:
    msg: "{{ lookup('tke.overlay.ledger', query='nodes.\"cloud-2.example.com\".node_cidr') }}"

- name: How many nodes there are, and where they are
  ansible.builtin.debug:
    msg: "{{ query('tke.overlay.ledger', 'length(nodes)', 'nodes.*.underlay') }}"

- name: The nodes of a site, in a cluster with links
  ansible.builtin.debug:
    msg: "{{ lookup('tke.overlay.ledger').nodes | dict2items | selectattr('value.site', '==', 'shanghai') }}"

- name: Another cluster's node CIDRs
  ansible.builtin.debug:
    msg: "{{ lookup('tke.overlay.ledger', query='nodes.*.node_cidr', ledger='/srv/other.json', cluster='other') }}"

- name: The whole document
  ansible.builtin.set_fact:
    ledger: "{{ lookup('tke.overlay.ledger') }}"
"""

RETURN = r"""
_raw:
  description:
    - One element per expression, or the whole document.
    - "Its keys: C(cluster), C(container_cidr), C(service_cidr), C(max_pods_per_node), C(max_services), C(cursor),
      C(nodes), C(pending), C(vips), C(former), C(applied), C(versions) and C(schema). After a change of WireGuard keys
      there is also C(wireguard_generation), in a cluster with WireGuard C(wireguard_port), and C(wireguard_next_port)
      while keys change together with the port."
    - In a cluster with C(overlay_links), a node has its C(site), and where these exist, its C(wireguard_key) (public),
      C(wireguard_next_key) while keys change, and C(wireguard_endpoint), V(-) behind NAT.
  type: list
  elements: raw
  sample: [10.244.0.0/24]
"""

import json
import os
import sys
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

try:
    import jmespath
except ImportError:
    HAS_JMESPATH = False
else:
    HAS_JMESPATH = True


from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import HAS_NETADDR
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import LEDGER_NAME
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import good_text


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core is not typed
    """Reads the ledger."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        """Return one result per query."""
        self.set_options(var_options=variables, direct=kwargs)
        queries = [str(term) for term in terms] + [query for query in [self.get_option("query")] if query]
        _require_libraries(with_jmespath=bool(queries))
        cluster = self._templar.template(self.get_option("cluster"))
        try:
            document = _document(self._place(variables or {}), None if cluster is None else str(cluster))
        except ValidationError as error:
            raise AnsibleLookupError(str(error)) from error
        return [_found(query, document) for query in queries] or [document]

    def _place(self, variables: dict[str, t.Any]) -> str:
        place = self._templar.template(self.get_option("ledger"))
        if place:
            return str(place)
        if "inventory_dir" not in variables:
            # A host that is not in the inventory, such as the implicit localhost.
            raise AnsibleLookupError(
                "this host is not in the inventory, which the default ledger is next to: set overlay_ledger"
            )
        return os.path.join(str(variables["inventory_dir"]), LEDGER_NAME)


def _require_libraries(with_jmespath: bool) -> None:
    wanted = {"netaddr": HAS_NETADDR, "jmespath": HAS_JMESPATH or not with_jmespath}
    missing = " ".join(name for name, there in wanted.items() if not there)
    if missing:
        raise AnsibleLookupError(
            f"the Python of this controller has no {missing}: run '{sys.executable} -m pip install {missing}'"
        )


def _document(place: str, cluster: str | None) -> dict[str, t.Any]:
    document: dict[str, t.Any] = json.loads(good_text(open_store(place), cluster))
    del document["checksum"]
    return document


def _found(query: str, document: dict[str, t.Any]) -> t.Any:
    try:
        return jmespath.search(query, document)
    except jmespath.exceptions.JMESPathError as error:
        raise AnsibleLookupError(
            f"the query {query!r} is not a valid JMESPath expression for the ledger: {error}"
        ) from error
