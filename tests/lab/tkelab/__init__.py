# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The lab: an Ansible inventory made real on one machine.

Bottom up: `system` (commands, paths, progress) and `cgroup` (which processes are the lab's) know
nothing of a lab; `model` says what a lab is and `inventory` reads it; `base`, `net` and `host`
make one part each; `lab` puts them together, one function per verb; `cli` is the command line.
"""
