"""Metrics of an image on disk against a truth on disk, and calibration of its spread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medldm.data import ReadRequest, Volume
from medldm.errors import InputRefused
from medldm.host import Host, load_host
from medldm.pipeline.calibration import calibration
from medldm.pipeline.metrics import compare
from medldm.pipeline.output import finished_record
from medldm.pipeline.reading import read_image


def evaluate(
    reconstruction: str | Path,
    truth: str | Path,
    *,
    read: ReadRequest | None = None,
    slices: slice | None = None,
    host: Host | None = None,
) -> dict[str, float]:
    """All registered metrics of an image, or of the image in an output folder, against the truth.

    Args:
        reconstruction: image, or output folder of ``medldm reconstruct``.
        truth: image.
        read: what to ask of the readers of both.
        slices: range along z of the truth; all of it when None.
        host: plugins; all that are installed when None.
    """
    host = host or load_host()
    image, reference = _alike(read_image(host, image_in(Path(reconstruction)), read), _truth(host, truth, read, slices))
    return compare(host, image, reference)


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

    Raises:
        InputRefused: E-UNC-02 the truth lies elsewhere.
    """
    folder, host = Path(folder), host or load_host()
    told = (finished_record(folder) or {}).get("uncertainty", {})
    samples = int(told.get("samples", 1))
    found = _written(folder, "reconstruction-spread")
    if samples < 2 or found is None:
        return {}
    reference = _truth(host, truth, read, slices)
    mean, reference = _alike(read_image(host, image_in(folder), read), reference)
    spread = read_image(host, found, read)
    if not mean.grid == spread.grid == reference.grid:
        raise InputRefused(
            "E-UNC-02",
            "The mean, the spread and the truth do not lie on one grid.",
            why="Calibration compares voxel by voxel; nothing is resampled in silence.",
            fix="Give the truth of this reconstruction, and its --slices.",
        )
    return calibration(mean, spread, samples, reference, float(told.get("interval", {}).get("model_error", 0.0)))


def _truth(host: Host, path: str | Path, read: ReadRequest | None, slices: slice | None) -> Volume:
    volume = read_image(host, path, read)
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
