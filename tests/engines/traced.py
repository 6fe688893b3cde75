# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""The conversation trace that the test engines replay, where it lies beside the sources; else they make requests up."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any, Dict, List, Optional

_PATH = os.path.join(os.environ.get("top_srcdir", "."), "..", "shared", "traces", "conversation_trace.jsonl")


def lines(most: Optional[int] = None) -> List[Dict[str, Any]]:
    """Its lines, so many at most; none where it is not there."""
    if not os.path.exists(_PATH):
        return []
    with open(_PATH, encoding="ascii") as file:
        return [json.loads(line) for line in itertools.islice(file, most)]
