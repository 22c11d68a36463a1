"""Every refusal of medldm: what is wrong, why it matters, what to do, under a stable code.

    MedldmError            exit code 1   unexpected
    ├── UsageError                   2   command line or recipe
    ├── InputRefused                 3   the scan cannot be understood as it is
    ├── ComponentMissing             4   plugin, weights or package missing
    ├── OutOfMemory                  5   does not fit after every fallback
    ├── GateFailed                   6   finished, but a quality gate failed
    └── BatchFailed                  7   some scans of a batch gave no result, or one that failed its gate

The messages name files, axes and numbers, never a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


class MedldmError(Exception):
    """A refusal with a stable code, e.g. ``E-GEO-03``; the codes are listed in ``docs/errors.md``.

    Args:
        code: stable identifier, ``E-AREA-NN``.
        what: one sentence, what is wrong.
        why: one sentence, why medldm does not go on.
        fix: one sentence, what the user can do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(code, what)
        self.code = code
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.code}: {self.what}", self.why, self.fix) if part)

    def as_dict(self) -> dict[str, str | int]:
        """The error as a JSON object."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "exit_code": self.exit_code,
        }


class UsageError(MedldmError):
    """The command line or the recipe asks for something impossible."""

    exit_code = 2


class InputRefused(MedldmError):
    """The scan cannot be read, or its geometry or values cannot be trusted."""

    exit_code = 3


class ComponentMissing(MedldmError):
    """A plugin, component, package or weights file is missing or incompatible with what it should join."""

    exit_code = 4


class OutOfMemory(MedldmError):
    """The work does not fit into the memory allowed, after every fallback."""

    exit_code = 5


class GateFailed(MedldmError):
    """The reconstruction finished but failed one of its quality gates."""

    exit_code = 6


class BatchFailed(MedldmError):
    """Some scans of a batch failed; the others are finished."""

    exit_code = 7


@dataclass(frozen=True)
class Problem:
    """Something noticed about an input that does not by itself stop the work.

    ``error`` means that reading this input would be refused with the same code.
    """

    code: str
    severity: Literal["note", "warning", "error"]
    sentence: str
    remedy: str = ""
