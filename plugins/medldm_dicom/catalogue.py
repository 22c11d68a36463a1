"""Every image series under a path, and every file that should have been one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medldm.errors import InputRefused, Problem
from medldm_dicom.enhanced import enhanced, is_enhanced
from medldm_dicom.frame import Frame, Vector, classic
from medldm_dicom.header import Header, NotDicom, integer, read_header, text, words
from medldm_dicom.problems import error, remark
from medldm_dicom.quiet import quiet
from medldm_dicom.scan import dicom_files

_DIRECTORY = "1.2.840.10008.1.3.10"
# Directions are stated with six digits by some scanners and drift by rounding between slices of one series.
SAME_DIRECTION = 1e-3


@dataclass(frozen=True, eq=False)
class Series:
    """Frames that may form one volume, or several at the same places.

    Attributes:
        uid: SeriesInstanceUID.
        frames: in file order.
        localizer: marked as such by its ImageType.
        scattered: of more than one orientation, a plane or two each (rotating projections).
    """

    uid: str
    frames: tuple[Frame, ...]
    localizer: bool = False
    scattered: bool = False

    @property
    def colour(self) -> bool:
        """More than one sample a pixel, or a palette."""
        dataset = self.frames[0].header.dataset
        photometric = text(dataset, "PhotometricInterpretation")
        return (integer(dataset, "SamplesPerPixel") or 1) != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2", ""}

    @property
    def headers(self) -> tuple[Header, ...]:
        """The headers of its files, each once."""
        return tuple({id(f.header): f.header for f in self.frames}.values())


@dataclass(frozen=True)
class Stray:
    """Files that cannot be part of a series, for one reason.

    Attributes:
        file: the first of them, which the problem names.
        problem: the reason.
        files: how many there are.
    """

    file: Path
    problem: Problem
    files: int = 1


@dataclass(frozen=True)
class Catalogue:
    """What was found: series in a stable order, and strays."""

    series: tuple[Series, ...]
    strays: tuple[Stray, ...]


def catalogue(path: Path) -> Catalogue:
    """Read every header under ``path`` and sort the frames into series.

    A series is what shares SeriesInstanceUID, frame of reference, size, pixel spacing and orientation, because
    archives do store scouts and crossing planes under one UID.
    """
    grouped: dict[tuple[object, ...], list[Frame]] = {}
    strays: list[Stray] = []
    with quiet():  # values are converted when they are first looked at
        for file in dicom_files(path):
            frames, problem = _frames(file)
            if problem is not None:
                strays.append(Stray(file, problem))
            for frame in frames:
                grouped.setdefault(_key(frame), []).append(frame)
        series = [part for frames in grouped.values() for part in _by_orientation(frames)]
    series.sort(key=lambda s: (_series_number(s), s.uid, s.frames[0].file, s.frames[0].index))
    return Catalogue(tuple(series), _merged(strays))


def _merged(strays: list[Stray]) -> tuple[Stray, ...]:
    """One for each code: an archive may hold hundreds of reports beside its images."""
    first: dict[str, Stray] = {}
    for stray in strays:
        known = first.get(stray.problem.code)
        first[stray.problem.code] = replace(known, files=known.files + 1) if known else stray
    return tuple(first.values())


def _frames(file: Path) -> tuple[list[Frame], Problem | None]:
    try:
        header = read_header(file)
        if text(header.dataset.file_meta, "MediaStorageSOPClassUID") == _DIRECTORY:
            return [], None
        if min(header.size) == 0:
            return [], error("E-DCM-03", f"{file.name!r} is a DICOM object without an image.")
        return (list(enhanced(header)) if is_enhanced(header) else [classic(header)]), None
    except NotDicom:
        return [], error(
            "E-DCM-01",
            f"{file.name!r} is named like a DICOM file but is none.",
            "Remove it, or name a folder of DICOM files.",
        )
    except InputRefused as refused:
        return [], error(refused.code, refused.what, refused.fix)
    except OSError as failure:
        return [], error("E-DCM-02", f"{file.name!r} cannot be opened ({type(failure).__name__}).")


def _key(frame: Frame) -> tuple[object, ...]:
    dataset = frame.header.dataset
    return (
        text(dataset, "SeriesInstanceUID"),
        text(dataset, "FrameOfReferenceUID"),
        frame.header.size,
        tuple(round(s, 4) for s in frame.spacing or ()),
        is_localizer(frame),
        text(dataset, "PhotometricInterpretation"),
    )


def is_localizer(frame: Frame) -> bool:
    """True for a scout, by value 3 of ImageType or any value that says so."""
    return "LOCALIZER" in (word.upper() for word in words(frame.header.dataset, "ImageType"))


def _series_number(series: Series) -> int:
    return integer(series.frames[0].header.dataset, "SeriesNumber") or 0


def _by_orientation(frames: list[Frame]) -> list[Series]:
    uid, localizer = text(frames[0].header.dataset, "SeriesInstanceUID"), is_localizer(frames[0])
    if localizer:
        return [Series(uid, tuple(frames), localizer=True)]
    clusters: list[tuple[Vector | None, list[Frame]]] = []
    for frame in frames:
        for direction, members in clusters:
            if _same(direction, frame.orientation):
                members.append(frame)
                break
        else:
            clusters.append((frame.orientation, [frame]))
    if len(clusters) >= 3 and len(frames) <= 2 * len(clusters):
        return [Series(uid, tuple(frames), scattered=True)]
    return [Series(uid, tuple(members)) for _, members in clusters]


def _same(a: Vector | None, b: Vector | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.abs(a - b).max() < SAME_DIRECTION)


def header_problems(series: Series) -> list[Problem]:
    """What the headers of a series say against it, apart from geometry."""
    problems: list[Problem] = [problem for header in series.headers[:20] for problem in header.problems]
    header = series.headers[0]
    dataset, name = header.dataset, header.file.name
    if series.colour:
        problems.append(
            error("E-DCM-04", f"{name!r} is a colour image.", "Choose the grey-scale series it was made from.")
        )
    if header.frames > 1 and not is_enhanced(header):
        problems.append(
            error(
                "E-DCM-17",
                f"{name!r} has {header.frames} frames but no functional groups.",
                "Export the series as single-frame images.",
            )
        )
    if "ModalityLUTSequence" in dataset:
        problems.append(
            error("E-DCM-13", f"{name!r} maps its values by a table.", "Export the series with slope and intercept.")
        )
    for each in series.headers:
        if each.pixel_bytes is None:
            problems.append(
                error("E-DCM-03", f"{each.file.name!r} holds no pixel data.", "Export the file again from the archive.")
            )
        elif not each.syntax.is_compressed and each.pixel_bytes < each.expected_bytes:
            problems.append(
                error(
                    "E-DCM-06",
                    f"{each.file.name!r} ends early: {each.pixel_bytes} of {each.expected_bytes} pixel bytes.",
                    "Copy the file again.",
                )
            )
    if series.localizer:
        problems.append(error("E-GEO-08", f"{name!r} is a localizer.", "Choose the series that was planned on it."))
    if "MOSAIC" in (word.upper() for word in words(dataset, "ImageType")):
        problems.append(
            error("E-GEO-11", f"{name!r} is a mosaic.", "Unmosaic it with dcm2niix and read the NIfTI file.")
        )
    if any(text(each.dataset, "LossyImageCompression") == "01" for each in series.headers):
        problems.append(remark("E-DCM-24", "warning", "The images were once compressed with loss."))
    if not series.uid:
        problems.append(remark("E-DCM-22", "warning", f"{name!r} states no series; its neighbours are taken as one."))
    return problems
