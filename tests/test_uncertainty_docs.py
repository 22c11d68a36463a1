"""docs/concepts/uncertainty.md is executed."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "uncertainty.md"


def test_the_page_is_true() -> None:
    results = doctest.testfile(str(PAGE), module_relative=False)
    assert results.attempted > 15
    assert results.failed == 0
