"""Unique identifiers that come out the same when the same run is repeated, so that an archive gets no doubles."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

import torch
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medldm.data import Provenance, Source, Volume
from medldm_dicom.header import text

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/medldm/medldm/dicom")


def uid(*parts: str) -> UID:
    """A UUID-derived UID (DICOM PS3.5 B.2) of the named parts."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(31).join(parts)).int}")


@dataclass(frozen=True)
class Identity:
    """What a written series is called.

    Attributes:
        origin: sha256 of what the image was made from; short forms of it name placeholders.
        study, frame_of_reference: for a source that has none.
        series: of this image in this run.
    """

    origin: str
    study: UID
    frame_of_reference: UID
    series: UID

    def instance(self, index: int) -> UID:
        """SOPInstanceUID of a slice."""
        return uid(self.series, "instance", str(index))


def identity(volume: Volume, stem: str, provenance: Provenance) -> Identity:
    """Identifiers from the source, the scan read from it, recipe, version, weights, seed, role and file stem.

    Study and frame of reference are of the source: volumes of one file share them, as do all images of a run.
    """
    origin = _origin(volume, provenance)
    grid = ",".join(f"{v:.6f}" for v in volume.grid.affine.ravel()) + str(volume.grid.shape)
    # Without the scan itself, the time points and echoes of one file would be one series.
    scan = (provenance.scan, provenance.recipe_hash, provenance.version, provenance.weights_hash)
    run = (*scan, str(provenance.seed), provenance.role, stem)
    return Identity(origin, uid(origin, "study"), uid(origin, "frame"), uid(origin, "series", grid, *run))


def _origin(volume: Volume, provenance: Provenance) -> str:
    digest = hashlib.sha256()
    source: Source | None = volume.source
    instances = [text(header, "SOPInstanceUID") for header in dicom_headers(volume)]
    if any(instances):
        digest.update("\n".join(instances).encode())
    elif source is not None and source.files and all(file.is_file() for file in source.files):
        for file in source.files:
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
    elif provenance.scan:
        digest.update(provenance.scan.encode())
    else:
        data = torch.view_as_real(volume.data) if volume.data.is_complex() else volume.data
        digest.update(data.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def dicom_headers(volume: Volume) -> tuple[Dataset, ...]:
    """The source's data sets, one a slice read; empty for an image that did not come from DICOM."""
    source = volume.source
    if source is None or source.format != "dicom" or not isinstance(source.header, (tuple, list)):
        return ()
    return tuple(header for header in source.header if isinstance(header, Dataset))
