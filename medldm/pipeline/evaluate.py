"""Metrics of an image on disk against a truth on disk, and calibration of its spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medldm.data import Grid, ReadRequest, Volume
from medldm.errors import InputRefused, MedldmError
from medldm.host import Host, load_host
from medldm.inference import is_exact
from medldm.pipeline.calibration import calibration
from medldm.pipeline.metrics import compare
from medldm.pipeline.output import finished_record
from medldm.pipeline.reference import read_compared, slices_of


def evaluate(
    reconstruction: str | Path,
    truth: str | Path,
    *,
    read: ReadRequest | None = None,
    slices: slice | None = None,
    host: Host | None = None,
) -> dict[str, float]:
    """All registered metrics of an image, or of the image in an output folder, against the truth.

    Decibels of an exact match are infinite.

    Args:
        reconstruction: image, or output folder of ``medldm reconstruct``.
        truth: image.
        read: what to ask of the readers of both.
        slices: range along z of the truth; all of it when None.
        host: plugins; all that are installed when None.

    Raises:
        InputRefused: E-EVAL-01 another shape than the truth's, E-EVAL-02 another place; where the image is a stack of
            slices of the truth, the remedy names them.
    """
    host = host or load_host()
    image, whole = _alike(read_compared(host, image_in(Path(reconstruction)), read), read_compared(host, truth, read))
    try:
        return compare(host, image, whole if slices is None else whole.cropped(slices))
    except InputRefused as error:
        if error.code not in ("E-EVAL-01", "E-EVAL-02"):
            raise  # a metric's own
        fix = _remedy(image.grid, whole.grid) or error.fix
        raise InputRefused(error.code, error.what, why=error.why, fix=fix) from error


def evaluate_spread(
    folder: str | Path,
    truth: str | Path,
    *,
    read: ReadRequest | None = None,
    slices: slice | None = None,
    host: Host | None = None,
) -> dict[str, Any]:
    """The calibration of an output folder with a spread map, see :func:`medldm.pipeline.calibration.calibration`.

    Arguments are those of :func:`evaluate`. Empty where the path is an image, or the folder of a run of one sample.
    Besides, ``solver`` is the name of the one that drew the samples, and ``exact`` whether they are said to be those of
    the posterior: what is computed of others is no interval of the truth. None where neither the record nor the
    installed solver tells.

    Raises:
        InputRefused: E-UNC-02 the truth lies elsewhere.
    """
    folder, host = Path(folder), host or load_host()
    record = finished_record(folder) or {}
    told = record.get("uncertainty", {})
    samples = int(told.get("samples", 1))
    found = _written(folder, "reconstruction-spread")
    if samples < 2 or found is None:
        return {}
    reference = _truth(host, truth, read, slices)
    mean, reference = _alike(read_compared(host, image_in(folder), read), reference)
    spread = read_compared(host, found, read)
    if not mean.grid == spread.grid == reference.grid:
        raise InputRefused(
            "E-UNC-02",
            "The mean, the spread and the truth do not lie on one grid.",
            why="Calibration compares voxel by voxel; nothing is resampled in silence.",
            fix="Give the truth of this reconstruction, and its --slices.",
        )
    found_out = calibration(mean, spread, samples, reference, float(told.get("interval", {}).get("model_error", 0.0)))
    return {**found_out, **_who_drew(host, record)} if found_out else {}


def _remedy(image: Grid, truth: Grid) -> str:
    """What brings both onto one grid; empty where the slices are not what differs."""
    cut = slices_of(image, truth)
    if cut is not None and image.shape == truth.shape:
        return "The image is of the whole truth: leave out --slices."
    if cut is not None:
        return f"The image is of these slices of the truth: add --slices {cut.start}:{cut.stop}."
    if image.shape[0] < truth.shape[0] and image.shape[1:] == truth.shape[1:]:
        return "Bring both onto one grid first; slices of the truth are chosen by --slices A:B."
    return ""


def _who_drew(host: Host, record: Mapping[str, Any]) -> dict[str, Any]:
    """The solver of a run, and whether it is exact: by the record, else by the class that is installed."""
    name = record.get("recipe", {}).get("solver", {}).get("name")
    exact = record.get("uncertainty", {}).get("exact")
    if exact is None and name is not None:
        try:
            exact = is_exact(host.find("solvers", str(name)).load())
        except MedldmError:
            exact = None  # of a plugin that is not here
    return {"solver": name, "exact": exact}


def _truth(host: Host, path: str | Path, read: ReadRequest | None, slices: slice | None) -> Volume:
    volume = read_compared(host, path, read)
    return volume if slices is None else volume.cropped(slices)


def _alike(image: Volume, reference: Volume) -> tuple[Volume, Volume]:
    """Both, where a format that cannot tell its modality (NIfTI) takes it from one that can (DICOM)."""
    if image.modality == "OT" and reference.modality != "OT":
        return _as(image, reference), reference
    if reference.modality == "OT" and image.modality != "OT":
        return image, _as(reference, image)
    return image, reference


def _as(volume: Volume, known: Volume) -> Volume:
    return replace(volume, modality=known.modality, quantity=known.quantity)


def image_in(path: Path) -> Path:
    """The reconstruction in an output folder of ``medldm reconstruct``, or the path itself."""
    if not (path / "run.json").is_file():
        return path
    found = _written(path, "reconstruction")
    if found is not None:
        return found
    raise InputRefused("E-EVAL-03", f"The output folder {path} holds no reconstruction.", fix="Give the image itself.")


def _written(folder: Path, stem: str) -> Path | None:
    """What the writer of NIfTI or DICOM made of an image."""
    return next((path for path in (folder / f"{stem}.nii.gz", folder / stem) if path.exists()), None)
