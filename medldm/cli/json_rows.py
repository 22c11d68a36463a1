"""Rows for programs: one JSON object on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_rows(event: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``{"event": event, "rows": rows}``; what JSON does not know, such as paths, as words."""
    sys.stdout.write(json.dumps({"event": event, "rows": rows}, default=str) + "\n")
