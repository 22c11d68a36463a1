"""Counts and rates in the words of people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 folder``, ``2 folders``."""
    return f"{number} {noun}{'s' * (number != 1)}"


def throughput(per_hour: float) -> str:
    """``1953 scans an hour``: three figures, and whole numbers from 100 on."""
    return f"{per_hour:.0f} scans an hour" if per_hour >= 100 else f"{per_hour:.3g} scans an hour"
