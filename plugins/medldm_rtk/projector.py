"""RTK's Joseph projector and its transpose as an operator on volumes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import itk
import numpy as np
import torch
from itk import RTK
from numpy.typing import NDArray
from torch import Tensor

from medldm.operators import LinearOperator, Space

with warnings.catch_warnings():
    # ITK's modules are loaded on first use, and one that meets a warning turned into an error ends the interpreter.
    warnings.simplefilter("ignore")
    _IMAGE = itk.Image[itk.F, 3]
    _Geometry = RTK.ThreeDCircularProjectionGeometry
    _Forward = RTK.JosephForwardProjectionImageFilter[_IMAGE, _IMAGE]
    _Back = RTK.JosephBackProjectionImageFilter[_IMAGE, _IMAGE]
    _Fdk = RTK.FDKConeBeamReconstructionFilter[_IMAGE]
    # The bridges to NumPy.
    itk.array_view_from_image(itk.image_from_array(np.zeros((1, 1, 1), np.float32)))


@dataclass(frozen=True)
class ConeScan:
    """A circle of the source in the plane through the middle of the volume; lengths in mm, angles in radians.

    The source of view ``beta`` stands at ``R (sin(beta), -cos(beta))`` in ``(x, y)``, bins grow along ``(cos(beta),
    sin(beta))`` and rows along z.

    Attributes:
        rows, bins: of the flat detector.
        row_pitch, pitch: their distances on the detector.
        offset, row_offset: position of the detector's middle.
    """

    angles: tuple[float, ...]
    rows: int
    bins: int
    row_pitch: float
    pitch: float
    source_to_centre: float
    source_to_detector: float
    offset: float = 0.0
    row_offset: float = 0.0

    def geometry(self) -> Any:
        """RTK's, whose axis of rotation is y and whose source stands on z at angle zero."""
        geometry = _Geometry.New()
        for angle in self.angles:
            geometry.AddProjection(self.source_to_centre, self.source_to_detector, float(np.rad2deg(angle)))
        return geometry

    def image(self, projections: NDArray[np.float32]) -> Any:
        """Projections ``(view, row, bin)`` where RTK looks for them."""
        origin = (
            self.offset - (self.bins - 1) / 2 * self.pitch,
            self.row_offset - (self.rows - 1) / 2 * self.row_pitch,
            0.0,
        )
        return _placed(projections, (self.pitch, self.row_pitch, 1.0), origin)


class JosephProjector(LinearOperator):
    """``(*batch, z, y, x) -> (*batch, view, row, bin)``: Joseph's line integrals in mm and their transpose.

    RTK computes in single precision, one volume at a time. Its voxel-based back-projection, five times faster, is not
    the transpose and stands in FDK alone.

    Args:
        scan: of the volume.
        shape: slices, rows and columns.
        spacing: of the voxels along z, y, x in mm; the volume is centred on the axis.
    """

    def __init__(self, scan: ConeScan, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
        super().__init__()
        self.scan, self.shape, self.spacing = scan, shape, spacing
        self.domain = Space(("z", "y", "x"), shape)
        self.codomain = Space(("view", "row", "bin"), (len(scan.angles), scan.rows, scan.bins))

    def forward(self, x: Tensor) -> Tensor:
        return self._each(x, self.domain, self.codomain, self._project)

    def adjoint(self, y: Tensor) -> Tensor:
        return self._each(y, self.codomain, self.domain, self._backproject)

    def fdk(self, projections: Tensor, hann: float = 1.0) -> Tensor:
        """Feldkamp, Davis and Kress 1984, of a full turn with a centred detector; a start image, no adjoint.

        Args:
            projections: (view, row, bin).
            hann: cut-off of the window as a share of the Nyquist frequency.
        """
        fdk = _Fdk.New()
        fdk.SetInput(0, self._volume(np.zeros(self.shape, np.float32)))
        fdk.SetInput(1, self.scan.image(_array(projections)))
        fdk.SetGeometry(self.scan.geometry())
        fdk.GetRampFilter().SetTruncationCorrection(0.0)
        fdk.GetRampFilter().SetHannCutFrequency(hann)
        return torch.from_numpy(_from_rtk(_updated(fdk))).to(projections.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> JosephProjector:
        return JosephProjector(self.scan, self.shape, self.spacing)

    def _each(self, x: Tensor, space: Space, other: Space, apply: Any) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("RTK computes in single precision")
        batch = space.batch_shape(x)
        items = [torch.from_numpy(apply(_array(item))) for item in x.reshape(-1, *space.shape)]
        return torch.stack(items).view(*batch, *other.shape).to(x.device)

    def _project(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        joseph = _Forward.New()
        joseph.SetGeometry(self.scan.geometry())
        joseph.SetInput(0, self.scan.image(np.zeros(self.codomain.shape, np.float32)))
        joseph.SetInput(1, self._volume(volume))
        return np.ascontiguousarray(_updated(joseph))

    def _backproject(self, projections: NDArray[np.float32]) -> NDArray[np.float32]:
        joseph = _Back.New()
        joseph.SetGeometry(self.scan.geometry())
        # RTK adds to its input in place, so each call gets zeros of its own.
        joseph.SetInput(0, self._volume(np.zeros(self.shape, np.float32)))
        joseph.SetInput(1, self.scan.image(projections))
        return _from_rtk(_updated(joseph))

    def _volume(self, volume: NDArray[np.float32]) -> Any:
        """A volume turned so that its z is RTK's y, and its y against RTK's z.

        RTK integrates from the centre of the first voxel to that of the last and sees nothing of a single slice: a rim
        of air brings the halves beyond, and takes their share of a ray that runs along the face.
        """
        dz, dy, dx = self.spacing
        turned = np.pad(volume, 1).transpose(1, 0, 2)[::-1]
        sizes, steps = turned.shape[::-1], (dx, dz, dy)
        return _placed(turned, steps, tuple(-(n - 1) / 2 * step for n, step in zip(sizes, steps, strict=True)))


def _from_rtk(volume: NDArray[np.float32]) -> NDArray[np.float32]:
    """The volume without its rim."""
    return np.ascontiguousarray(volume[::-1].transpose(1, 0, 2)[1:-1, 1:-1, 1:-1])


def _placed(values: NDArray[np.float32], spacing: tuple[float, ...], origin: tuple[float, ...]) -> Any:
    image = itk.image_from_array(np.ascontiguousarray(values))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image


def _updated(pipeline: Any) -> NDArray[np.float32]:
    pipeline.Update()
    return np.array(itk.array_view_from_image(pipeline.GetOutput()))


def _array(x: Tensor) -> NDArray[np.float32]:
    return np.array(x.detach().cpu().numpy(), dtype=np.float32)
