"""YAML 1.2 files from users: safe, small, no duplicate keys, no surprises with ``1e5`` or ``no``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from medldm.errors import UsageError

MAX_BYTES = 1_000_000


def _parser() -> YAML:
    parser = YAML(typ="safe", pure=True)
    parser.version = "1.2"
    parser.allow_duplicate_keys = False
    return parser


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                "E-YML-01",
                f"{path} is larger than {MAX_BYTES} bytes.",
                why="That is no configuration file.",
                fix="Check the path.",
            )
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError("E-YML-02", f"{path} is not UTF-8 text.", fix="Check the path.") from error
    except OSError as error:
        raise UsageError(
            "E-YML-03", f"{path} cannot be read: {error.strerror}.", fix="Check the path and its permissions."
        ) from error
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        raise UsageError(
            "E-YML-04",
            f"{path} is not a mapping of sections.",
            fix="medldm recipes show mri-4x prints the form.",
        )
    return content


def parse_scalar(text: str) -> Any:
    """The value of a ``--set`` assignment, read as YAML: ``20``, ``1.0e5``, ``true``, ``[nifti, dicom]``."""
    return _parse(text, f"the value {text!r}")


def _parse(text: str, where: str) -> Any:
    # An alias can blow a few bytes up to gigabytes; no configuration of ours needs one.
    try:
        if any(getattr(event, "anchor", None) for event in _parser().parse(text)):
            raise UsageError("E-YML-05", f"{where} uses YAML anchors or aliases.", fix="Write the values out.")
        return _parser().load(text)
    except YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", "") or "syntax error").split())
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError("E-YML-06", f"{where}{line} is not valid YAML: {reason}.", fix="Correct the line.") from error
