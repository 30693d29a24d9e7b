# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The lab: the hosts of an Ansible inventory as containers on one machine.

From the lowest layer up: `system` (commands, paths, progress) and `cgroup` (the processes of the lab) do not depend on
the description of a lab; `model` defines that description and `inventory` reads it; `base`, `net` and `host` build one
part each; `lab` combines them, one function per verb; `cli` is the command line.
"""
