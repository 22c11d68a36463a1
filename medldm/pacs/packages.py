"""The packages of the extra ``dicom``, and their silence: their logs quote patients."""

from __future__ import annotations

import logging
from importlib import import_module
from types import ModuleType

from medldm.errors import ComponentMissing


def package(name: str) -> ModuleType:
    """An optional package, with its log turned off.

    Raises:
        ComponentMissing: E-PACS-01.
    """
    try:
        found = import_module(name)
    except ImportError as error:
        raise ComponentMissing(
            "E-PACS-01",
            f"The package {name.partition('.')[0]!r} is not installed.",
            why="Archives are spoken with through it.",
            fix="pip install 'medldm[dicom]'",
        ) from error
    quiet = logging.getLogger(name.partition(".")[0])
    quiet.setLevel(logging.CRITICAL + 1)
    quiet.propagate = False
    return found
