"""The paragraph for a paper: what was done, in sentences, citing exactly what took part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medldm.report.templating import plain

_BEGINNINGS = {
    "physics": "The measurement was explained by the physics {name}{cited} ({summary}).",
    "likelihood": "Its noise was modelled by the likelihood {name}{cited} ({summary}).",
    "start": "The start image was made by {name}{cited} ({summary}).",
    "solver": "The image was reconstructed by {name}{cited} ({summary}){options}.",
    "prior": "The diffusion prior was {name}{cited} ({summary}).",
    "competitor": "The prior was tried against {name}{cited} ({summary})",
    "trial": "on samples withheld from both{cited}.",
    "interval": "Beside the image stands the {summary}{cited}.",
    "map": "The share of the prior in each voxel was computed from the measurement{cited}.",
}


def methods_text(record: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The paragraph, with numbers in brackets, and the references that the numbers stand for."""
    listed: list[str] = []

    def cited(references: list[str]) -> str:
        for reference in references:
            if reference not in listed:
                listed.append(reference)
        numbers = [str(listed.index(reference) + 1) for reference in references]
        return f" [{', '.join(numbers)}]" if numbers else ""

    version = record.get("versions", {}).get("medldm", "")
    sentences = []
    if record.get("simulated"):
        sentences.append("The measurement was simulated from an image that had been reconstructed before.")
    metrics = []
    for method in record.get("methods", []):
        references = [plain(one) for one in method.get("references", [])]
        role, summary = method.get("role"), _lower(plain(method.get("summary", "")).rstrip(".").replace("`", ""))
        if role == "metric":
            metrics.append(f"{plain(method['name'])}{cited(references)}")
            continue
        form = _BEGINNINGS.get(str(role), "{name} took part ({summary}{cited}).")
        sentences.append(
            form.format(name=plain(method["name"]), summary=summary, cited=cited(references), options=_options(record))
        )
    if metrics:
        sentences.append(f"It was compared with the truth by {', '.join(metrics)}.")
    sentences.append(f"All was computed with medldm {version}, seed {record.get('seed', 0)}.")
    return " ".join(sentences), listed


def _options(record: Mapping[str, Any]) -> str:
    solver = record.get("recipe", {}).get("solver", {})
    options = ", ".join(f"{key} = {plain(value)}" for key, value in solver.items() if key != "name")
    return f" with {options}" if options else ""


def _lower(text: str) -> str:
    """A sentence as part of another: its first letter small, unless the word is a name or an abbreviation."""
    head = text.partition(" ")[0]
    return text[:1].lower() + text[1:] if head[1:].islower() and head not in _NAMES else text


# First words of summaries that keep their capital.
_NAMES = {"Cartesian", "Gaussian", "Poisson"}
