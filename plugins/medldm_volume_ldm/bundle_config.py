"""Configurations of MONAI bundles, read as data: references are followed, nothing is ever run.

A bundle's own parser evaluates every text that starts with ``$`` as Python. Here such a text has no value, unless it is
a mere reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medldm.errors import InputRefused
from medldm.host.yaml_file import MAX_BYTES, read_mapping
from medldm.priors.family import UnknownLayout

_NAMES = ("inference.json", "inference.yaml", "inference.yml")
_REFERENCE = re.compile(r"^\$?@([A-Za-z_]\w*(?:(?:#|::)\w+)*)$")
_DEEPEST = 40


@dataclass(frozen=True)
class BundleConfig:
    """What a bundle says of itself.

    Attributes:
        folder: of the bundle.
        content: of ``configs/inference``.
        metadata: of ``configs/metadata.json``, empty where there is none.
    """

    folder: Path
    content: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """The value of a top-level key, its references followed.

        Raises:
            InputRefused: ``E-VLD-04``, it needs an expression evaluated, or refers to what does not exist.
        """
        return self._resolved(self.content[name], name, 0)

    def _resolved(self, value: Any, where: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise _unknown(where, "refers to itself, or is nested beyond all need")
        if isinstance(value, Mapping):
            return {key: self._resolved(inner, f"{where}.{key}", depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._resolved(inner, f"{where}[{place}]", depth + 1) for place, inner in enumerate(value)]
        if not isinstance(value, str) or not value.startswith(("$", "@", "%")):
            return value
        reference = _REFERENCE.match(value)
        if reference is None:
            raise _unknown(where, f"is the expression {value!r}, and no program of a bundle is run")
        return self._resolved(self._found(reference[1], where), where, depth + 1)

    def _found(self, reference: str, where: str) -> Any:
        found: Any = self.content
        for part in re.split("#|::", reference):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise _unknown(where, f"refers to {reference!r}, which does not exist")
        return found


def read_bundle_config(folder: Path) -> BundleConfig:
    """Read a bundle's configuration.

    Raises:
        UnknownLayout: ``E-VLD-03``, there is none.
        InputRefused: ``E-VLD-03``, it is no mapping.
        UsageError: ``E-YML-..``, the YAML is not well formed.
    """
    found = [folder / "configs" / name for name in _NAMES if (folder / "configs" / name).is_file()]
    if not found:
        raise UnknownLayout(
            "E-VLD-03",
            f"{folder} is no MONAI bundle: it has no configs/inference.json or .yaml.",
            fix="Give the folder that holds 'configs' and 'models'.",
        )
    metadata = folder / "configs" / "metadata.json"
    return BundleConfig(folder, _mapping(found[0]), _mapping(metadata) if metadata.is_file() else {})


def _mapping(path: Path) -> Mapping[str, Any]:
    if path.suffix != ".json":
        return read_mapping(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputRefused("E-VLD-03", f"{path} is larger than {MAX_BYTES} bytes.", fix="Check the file.")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputRefused("E-VLD-03", f"{path} is not valid JSON.", fix="Copy the bundle again.") from error
    if not isinstance(content, dict):
        raise InputRefused("E-VLD-03", f"{path} is not a mapping.", fix="Copy the bundle again.")
    return content


def _unknown(where: str, why: str) -> InputRefused:
    return InputRefused(
        "E-VLD-04",
        f"'{where}' of the bundle's configuration {why}.",
        why="The prior needs its value.",
        fix="Write the value in its place.",
    )
