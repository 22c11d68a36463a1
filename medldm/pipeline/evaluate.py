"""Metrics of an image on disk against a truth on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medldm.data import ReadRequest, Volume
from medldm.errors import InputRefused
from medldm.host import Host, load_host
from medldm.pipeline.metrics import compare
from medldm.pipeline.reading import read_image


def evaluate(
    reconstruction: str | Path, truth: str | Path, *, read: ReadRequest | None = None, host: Host | None = None
) -> dict[str, float]:
    """All registered metrics of an image, or of the image in an output folder, against the truth."""
    host = host or load_host()
    image = read_image(host, image_in(Path(reconstruction)), read)
    reference = read_image(host, truth, read)
    # A format that cannot tell its modality (NIfTI) takes it from one that can (DICOM).
    if image.modality == "OT" and reference.modality != "OT":
        image = _as(image, reference)
    elif reference.modality == "OT" and image.modality != "OT":
        reference = _as(reference, image)
    return compare(host, image, reference)


def _as(volume: Volume, known: Volume) -> Volume:
    return replace(volume, modality=known.modality, quantity=known.quantity)


def image_in(path: Path) -> Path:
    """The reconstruction in an output folder of ``medldm reconstruct``, or the path itself."""
    if not (path / "run.json").is_file():
        return path
    for name in ("reconstruction.nii.gz", "reconstruction"):
        if (path / name).exists():
            return path / name
    raise InputRefused("E-EVAL-03", f"The output folder {path} holds no reconstruction.", fix="Give the image itself.")
