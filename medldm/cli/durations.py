"""Durations in the words of people."""

from __future__ import annotations

import re

from medldm.errors import UsageError


def seconds(text: str) -> float:
    """``90``, ``30m`` or ``2h`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise UsageError("E-BAT-20", f"{text!r} is no time.", fix="For example 90, 30m or 2h.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def in_time(seconds: float) -> str:
    """``2 h 05 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
