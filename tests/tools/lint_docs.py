# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Run ``antsibull-docs lint-collection-docs`` with the given arguments and a result that does not depend on chance.

antsibull-docs writes the path of a temporary copy into reStructuredText. One random name in 37 ends with ``_``, which
makes a reference to a target that does not exist, and therefore an error for every page.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from antsibull_docs.cli.antsibull_docs import main
from antsibull_docs.utils import collection_copier

if __name__ == "__main__":
    module: Any = collection_copier
    module.ansible_mkdtemp = functools.partial(module.ansible_mkdtemp, suffix="copy")
    sys.argv[0:1] = ["antsibull-docs", "lint-collection-docs"]
    sys.exit(main())
