# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup of the certificates of a CA."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: ca_certificates
short_description: Reads the certificates of a CA from a file on the controller
version_added: 1.0.0
description:
  - Returns the certificates of a file as PEM, without comments, byte order mark and private keys.
  - The file is PEM, as OpenSSL reads it, or DER. It can be encrypted by ansible-vault.
  - A file without the certificate of a valid CA is an error that says what the file holds instead.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _terms:
    description: Paths of files, searched as by C(ansible.builtin.file).
    type: list
    elements: path
    required: true
seealso:
  - module: tke.overlay.api_endpoint
"""

EXAMPLES = r"""
- name: Verify the API server with a CA of the controller
  tke.overlay.api_endpoint:
    state: verified
    names: {api.demo.internal: 10.0.2.2}
    api: {name: api.demo.internal}
    ca: "{{ lookup('tke.overlay.ca_certificates', inventory_dir ~ '/api-ca.crt') }}"
"""

RETURN = r"""
_raw:
  description: The certificates of each file, as PEM.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._certificates import read_ca


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core is not typed
    """Reads certificates."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        """Return the certificates of each file."""
        self.set_options(var_options=variables, direct=kwargs)

        def find(path: str) -> str | None:
            found: str | None = self.find_file_in_search_path(variables, "files", path, ignore_missing=True)
            return found

        try:
            return [read_ca(term, find, self._loader) for term in terms]
        except ValidationError as error:
            raise AnsibleLookupError(str(error)) from error
