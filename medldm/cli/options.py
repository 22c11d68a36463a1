"""Options that several commands share, each with its help text once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medldm.errors import UsageError

if TYPE_CHECKING:
    from medldm.data import ReadRequest

# Paths are left to the readers, which refuse with a code.
Input = Annotated[
    Path,
    typer.Argument(
        help="A NIfTI file, a DICOM file or folder, raw k-space or projections, or an acquisition file.",
        readable=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Warnings and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log lines, and tracebacks of unexpected errors.")]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="Name of a shipped recipe, or a path ending in .yaml.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change the recipe: section.key=value, or section={...}; repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all randomness; short for run.seed.")]
Series = Annotated[
    str | None, typer.Option("--series", help="Series UID, or #2 for the second row of `medldm inspect`.")
]
VolumeIndex = Annotated[int | None, typer.Option("--volume-index", min=0, help="Which volume of a 4-D scan.")]
Untilt = Annotated[bool, typer.Option("--untilt", help="Shear a gantry-tilted CT series upright.")]
AllowGaps = Annotated[
    str | None, typer.Option("--allow-gaps", help="`resample`: fill missing or uneven slices by interpolation.")
]
Orientation = Annotated[
    str | None, typer.Option("--assume-orientation", help="Axis code such as RAS for a NIfTI that states none.")
]
Modality = Annotated[str | None, typer.Option("--modality", help="CT or MR, where the file cannot tell (NIfTI).")]
Slices = Annotated[str | None, typer.Option("--slices", help="Range along z, for example 40:60.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished output folder.")]

AnonymousNames = Annotated[
    bool,
    typer.Option("--anonymous-names", help="OUT holds many results, each in a folder named by the hash of its job."),
]


def read_request(
    series: str | None = None,
    volume_index: int | None = None,
    untilt: bool = False,
    allow_gaps: str | None = None,
    assume_orientation: str | None = None,
    modality: str | None = None,
) -> ReadRequest:
    """What the flags ask of a reader; a word that no reader knows is refused."""
    from medldm.data import ReadRequest

    gaps: Literal["resample"] | None = None
    if allow_gaps is not None:
        if allow_gaps != "resample":
            raise UsageError("E-CLI-01", f"--allow-gaps {allow_gaps!r} is not known.", fix="--allow-gaps resample")
        gaps = "resample"
    kinds: dict[str, Literal["CT", "MR", "OT"]] = {"CT": "CT", "MR": "MR", "OT": "OT"}
    if modality is not None and modality.upper() not in kinds:
        raise UsageError("E-CLI-02", f"--modality {modality!r} is not known.", fix="--modality CT, or MR.")
    if assume_orientation is not None and not _is_axis_code(assume_orientation):
        raise UsageError(
            "E-CLI-07",
            f"--assume-orientation {assume_orientation!r} is no axis code.",
            why="It names where the three stored axes point, one letter of each of R/L, A/P and S/I.",
            fix="For example: --assume-orientation RAS",
        )
    return ReadRequest(
        series=series,
        volume_index=volume_index,
        untilt=untilt,
        allow_gaps=gaps,
        assume_orientation=assume_orientation,
        modality=None if modality is None else kinds[modality.upper()],
    )


def _is_axis_code(text: str) -> bool:
    """Whether it has one letter of each axis of the patient."""
    return sorted(text.upper().translate(str.maketrans("LPI", "RAS"))) == ["A", "R", "S"]


def slice_range(text: str | None) -> slice | None:
    """``40:60`` as a slice."""
    if text is None:
        return None
    start, colon, stop = text.partition(":")
    try:
        bounds = [int(part) if part.strip() else None for part in (start, stop)]
    except ValueError:
        bounds = []
    if not colon or len(bounds) != 2:
        raise UsageError("E-CLI-03", f"--slices {text!r} is not a range.", fix="For example: --slices 40:60")
    return slice(bounds[0], bounds[1])


def assignments(
    set_: list[str] | None, seed: int | None = None, samples: int | None = None, prior: str | None = None
) -> list[str]:
    """All ``section.key=value`` of a command line, the short forms last."""
    result = list(set_ or [])
    if seed is not None:
        result.append(f"run.seed={seed}")
    if samples is not None:
        result.append(f"run.samples={samples}")
    if prior is not None:
        # Quoted: a folder may be called 007 or [new].
        result.append(f"prior.name={json.dumps(prior)}")
    return result
