# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option of the modules that check what Pods of a host need."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay._pods."""

    DOCUMENTATION = r"""
options:
  cni_bin_dirs:
    description:
      - The directories in which the container runtime of this host looks for CNI plugins, for the check that it finds
        those that C(/etc/cni/net.d/10-tke-overlay.conflist) names. M(tke.overlay.node) also chooses by them which
        plugins that file names.
      - By default those that the configuration of containerd or CRI-O names (also that of K3s and RKE2), otherwise
        C(/opt/cni/bin), C(/usr/lib/cni) and C(/usr/libexec/cni).
    type: list
    elements: str
    default: []
"""
