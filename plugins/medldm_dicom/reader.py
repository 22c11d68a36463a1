"""The reader of DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from medldm.data import History, Quantity, ReadRequest, SeriesRow, Source, Volume
from medldm.data.volume import AIR_HU, Modality
from medldm.errors import InputRefused, Problem
from medldm_dicom import scan
from medldm_dicom.catalogue import Catalogue, Series, catalogue, header_problems
from medldm_dicom.checks import mixed_parameters, modality_of, rescale, units
from medldm_dicom.choice import choose, choose_volume
from medldm_dicom.codecs import missing_decoder
from medldm_dicom.enhanced import slice_header
from medldm_dicom.frame import Frame
from medldm_dicom.geometry import GAP_CODES, TILT_CODES, Layout, arrange
from medldm_dicom.header import integer, number, text
from medldm_dicom.pixels import check_budget, values
from medldm_dicom.problems import error, printable, refusal, refuse_errors, remark, without_names
from medldm_dicom.quiet import quiet
from medldm_dicom.resample import plan_regular
from medldm_dicom.volumes import Split, split


@dataclass(frozen=True, eq=False)
class _Findings:
    """What the headers of one series amount to."""

    series: Series
    layout: Layout | None
    split: Split | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class DicomReader:
    """Reads classic and enhanced DICOM series whose geometry is understood; refuses the rest by code."""

    def accepts(self, path: Path) -> bool:
        return scan.accepts(path)

    def files(self, path: Path) -> list[Path]:
        """Of a folder those that are DICOM: others may lie among them."""
        try:
            return list(scan.dicom_files(path))
        except InputRefused:
            return []

    def inspect(self, path: Path) -> list[SeriesRow]:
        found = catalogue(path)
        rows = []
        for index, series in enumerate(found.series, 1):
            with quiet():
                rows.append(_row(index, _examine(series)))
        for index, stray in enumerate(found.strays, len(rows) + 1):
            rows.append(
                SeriesRow(
                    index,
                    printable(stray.file.name, 128),
                    "dicom",
                    "?",
                    "",
                    stray.files,
                    None,
                    None,
                    None,
                    (stray.problem,),
                )
            )
        return rows

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume]:
        with quiet():
            found = catalogue(path)
            findings = _examine(choose(found, request), request.modality)
            lifted = (GAP_CODES if request.allow_gaps == "resample" else frozenset()) | (
                TILT_CODES if request.untilt else frozenset()
            )
            refuse_errors(findings.problems, lifted | {"E-DCM-12", "E-DCM-20"})
            assert findings.layout is not None
            layout = findings.layout
            if findings.split is not None:
                layout = findings.split.layouts[choose_volume(findings.split, request.volume_index)]
            elif request.volume_index not in (None, 0):
                raise refusal(error("E-DCM-12", "The series holds one volume.", "Leave --volume-index out."))
            plan = plan_regular(layout, untilt=request.untilt)
            every = [frame for shelf in layout.shelves for frame in shelf]
            check_budget(every, len(every) * plan.plane_voxels + plan.voxels, request.max_bytes)
            planes, history = _pixels(layout, every, _history(findings, found))
            modality, quantity = _unit(findings.series, request)
            volume, grid, history = plan.apply(planes, AIR_HU if quantity == "HU" else 0.0, history)
            frames = [shelf[0] for shelf in layout.shelves]
            return [
                Volume(
                    volume,
                    grid,
                    quantity,
                    modality,
                    name=_name(findings.series),
                    history=history,
                    source=Source("dicom", tuple(f.file for f in frames), tuple(slice_header(f) for f in frames)),
                    display=frames[len(frames) // 2].window,
                ).require_finite()
            ]


def _examine(series: Series, asked: Modality | None = None) -> _Findings:
    problems = header_problems(series)
    if series.localizer:
        return _Findings(series, None, None, tuple(problems))
    arranged = arrange(series.frames, scattered=series.scattered)
    modality = _modality(series, asked) or modality_of(series.frames)
    if isinstance(arranged, Problem):
        return _Findings(series, None, None, (*problems, arranged))
    volumes = split(arranged)
    layouts = volumes.layouts if volumes else (arranged,)
    problems.extend(layouts[0].problems)
    shelves = [[frame for shelf in layout.shelves for frame in shelf] for layout in layouts]
    problems.extend(rescale(shelves, modality))
    problems.extend(units(series.frames, modality))
    problems.extend(mixed_parameters([shelf[0] for shelf in layouts[0].shelves]))
    if volumes is not None:
        problems.append(
            error(
                "E-DCM-12",
                f"The series holds {len(layouts)} volumes, told apart by {', '.join(volumes.dimensions)}.",
                f"Give --volume-index 0 to {len(layouts) - 1}.",
            )
        )
    syntax = series.headers[0].syntax
    package = missing_decoder(syntax)
    if package is not None:
        problems.append(error("E-DCM-20", f"No decoder for {syntax.name} is installed.", f"Install {package}."))
    return _Findings(series, arranged, volumes, tuple(problems))


def _row(index: int, findings: _Findings) -> SeriesRow:
    series, layout = findings.series, findings.layout
    dataset = series.frames[0].header.dataset
    grid = layout.grid() if layout is not None else None
    return SeriesRow(
        index,
        printable(series.uid),
        "dicom",
        printable(modality_of(series.frames) or "?", 16),
        printable(text(dataset, "SeriesDescription")),
        len(series.headers),
        grid.shape if grid else None,
        grid.spacing if grid else None,
        grid.orientation if grid else None,
        findings.problems,
    )


def _modality(series: Series, asked: Modality | None) -> Modality | None:
    """As the series states it, or as the user does where it states none that is known here."""
    stated = modality_of(series.frames)
    return cast(Modality, stated) if stated in {"CT", "MR"} else asked


def _unit(series: Series, request: ReadRequest) -> tuple[Modality, Quantity]:
    modality = _modality(series, request.modality) or "OT"
    return modality, ("HU" if modality == "CT" else "arbitrary")


def _name(series: Series) -> str:
    dataset = series.frames[0].header.dataset
    kind = modality_of(series.frames).lower()
    kind = kind if kind.isascii() and kind.isalnum() and len(kind) <= 4 else "image"
    series_number = integer(dataset, "SeriesNumber")
    return f"{kind}-series" if series_number is None else f"{kind}-series-{series_number}"


def _history(findings: _Findings, found: Catalogue) -> History:
    headers = findings.series.headers
    history = History().then("read", format="dicom", files=len(headers), syntax=headers[0].syntax.name)
    padding = number(headers[0].dataset, "PixelPaddingValue")
    if padding is not None:
        history = history.then("pixel-padding", stored=padding)
    if len(found.series) > 1:
        history = history.then("series", chosen=found.series.index(findings.series) + 1, found=len(found.series))
    strays = [
        remark(s.problem.code, "warning", s.problem.sentence) for s in found.strays if s.problem.code != "E-DCM-03"
    ]
    return history.noticed(map(without_names, (*findings.problems, *strays)))


def _pixels(layout: Layout, every: list[Frame], history: History) -> tuple[Tensor, History]:
    """Values of the planes, copies dropped."""
    volume, oddities = values(every)
    if oddities:
        history = history.then(
            "warning", code="E-DCM-23", severity="note", sentence=f"Decoding gave {oddities} warnings."
        )
    keep, k = [], 0
    for shelf in layout.shelves:
        keep.append(k)
        for copy, frame in enumerate(shelf[1:], 1):
            if not torch.equal(volume[k], volume[k + copy]):
                raise refusal(
                    error(
                        "E-GEO-05",
                        f"{shelf[0].label!r} and {frame.label!r} lie at one place with different pixels.",
                        "Remove the one that does not belong to the volume.",
                    )
                )
        k += len(shelf)
    if len(keep) < len(every):
        volume = volume[keep].contiguous()
        history = history.then("drop-copies", copies=len(every) - len(keep))
    return volume, history
