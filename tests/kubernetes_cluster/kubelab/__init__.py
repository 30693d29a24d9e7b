# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A real Kubernetes cluster on the lab: `hosts` runs commands, `images` makes images, `bootstrap` makes the cluster,
`traffic` counts requests, `rows` has the tests.
"""
