"""Pages from templates: everything escaped, and a policy that allows no request, no script and no style but our own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from medldm.data.provenance import GENERATIVE, RESEARCH_ONLY

FOLDER = Path(__file__).resolve().parent
_TEMPLATES = FOLDER / "templates"
# Control characters, which a terminal obeys, and marks that turn the direction of writing (Unicode TR 9 and 36).
_UNPRINTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 300


def source(name: str) -> str:
    """A style sheet or script of this package."""
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def notices(generative: bool, simulated: bool = False) -> list[str]:
    """What a page with images says before anything else, as ``notices.html`` shows it."""
    said = [RESEARCH_ONLY]
    if generative:
        said.append(f"{GENERATIVE[0].upper()}{GENERATIVE[1:]}.")
    if simulated:
        said.append("SIMULATED measurement.")
    return said


def fingerprint(text: str) -> str:
    """What the policy of a page calls a script or a style sheet that it allows."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def policy(styles: list[str], scripts: list[str], connect: str = "", script_from: str = "") -> str:
    """The Content-Security-Policy of a page: only these styles and scripts, pictures from within.

    Args:
        styles: their texts.
        scripts: their texts.
        connect: what scripts may load, ``'self'`` for a page of the local server; nothing where empty.
        script_from: where other scripts may come from.
    """
    allowed = " ".join([*map(fingerprint, scripts), *([script_from] if script_from else [])]) or "'none'"
    loaded = connect or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src {' '.join(map(fingerprint, styles))}; "
        f"script-src {allowed}; connect-src {loaded}; base-uri 'none'; form-action 'none'"
    )


def render(template: str, facts: Mapping[str, Any]) -> str:
    """A page. Whatever is not :class:`Markup` made here is escaped; an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template(template).render(**facts)


def plain(value: object) -> str:
    """Text from elsewhere as one short line: no control characters, no marks of direction, not endless."""
    text = _UNPRINTED.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\N{HORIZONTAL ELLIPSIS}"


def inline(text: str) -> Markup:
    """A script or style sheet of this package, to stand between its tags; it may not close them."""
    if re.search(r"</(script|style)|<!--", text, re.IGNORECASE):
        raise ValueError("the text would end its own element")
    return Markup(text)
