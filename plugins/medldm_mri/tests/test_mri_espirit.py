"""ESPIRiT: maps recovered from calibration data that known maps made; the same subspace as BART where installed."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medldm.errors import InputRefused
from medldm.inference import Noise
from medldm_mri.calibration import calibration_region
from medldm_mri.coils import CoilArray
from medldm_mri.espirit import Espirit, convolution, evaluate, first_eigenvectors, principal_combination
from medldm_mri.examples import object_of
from medldm_mri.object_phase import SmoothPhase
from medldm_mri.sense import Sense


def _measured(shape: tuple[int, int, int], coils: int, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Fully sampled k-space, the maps that made it, and where the object is."""
    volume = object_of(shape)
    phase = SmoothPhase(shape, Noise(5))
    image = torch.stack([volume.data[z] * phase.at(z) for z in range(shape[0])])
    maps = CoilArray(volume.grid, coils).all()
    kspace = Sense(maps, torch.ones(shape[1:])).forward(image)
    kspace = kspace + Noise(6).normal(tuple(kspace.shape), torch.complex64, "measurement", std=noise)
    return kspace, maps, volume.data > 0


def _centre(kspace: Tensor, ny: int, nx: int) -> Tensor:
    y, x = (n // 2 - m // 2 for n, m in zip(kspace.shape[-2:], (ny, nx), strict=True))
    return kspace[..., y : y + ny, x : x + nx]


@pytest.mark.parametrize(("shape", "coils"), [((2, 96, 80), 8), ((2, 81, 96), 5), ((1, 80, 75), 2)])
@pytest.mark.parametrize(("lines", "noise", "least"), [(24, 0.0, 0.995), (24, 0.6, 0.99), (10, 0.6, 0.98)])
def test_known_maps_are_recovered_up_to_phase(
    shape: tuple[int, int, int], coils: int, lines: int, noise: float, least: float
) -> None:
    kspace, maps, inside = _measured(shape, coils, noise)
    estimated = Espirit().maps(_centre(kspace, lines, 24), shape[1:])
    agreement = (estimated.conj() * maps).sum(1).abs()[inside]
    # The cosine of the angle between estimated and true map: 0.99 leaves 1 % of the signal unexplained.
    assert float(agreement.quantile(0.01)) > least
    assert float((agreement == 0).float().mean()) < 0.005
    squares = estimated.abs().square().sum(1)
    assert float((squares * (squares - 1)).abs().max()) < 1e-5


def test_air_has_no_maps_and_an_empty_slice_keeps_them() -> None:
    kspace, _, _ = _measured((3, 96, 80), 8)
    kspace[2] = 1e-3 * Noise(1).normal(tuple(kspace.shape[1:]), torch.complex64, "air")
    squares = Espirit().maps(_centre(kspace, 24, 24), (96, 80)).abs().square().sum(1)
    corner = squares[:2, :8, :8]
    assert float(corner.max()) == 0
    torch.testing.assert_close(squares[2], torch.ones(96, 80))
    kspace[2] = 0
    squares = Espirit().maps(_centre(kspace, 24, 24), (96, 80)).abs().square().sum(1)
    torch.testing.assert_close(squares[2], torch.ones(96, 80))


def test_neighbouring_slices_and_pixels_agree_in_phase() -> None:
    kspace, _, inside = _measured((6, 96, 80), 8)
    estimated = Espirit().maps(_centre(kspace, 24, 24), (96, 80))
    both = inside[1:] & inside[:-1]
    product = (estimated[1:] * estimated[:-1].conj()).sum(1)[both]
    assert float(product.real.quantile(0.01)) > 0.97
    reference = principal_combination(_centre(kspace, 24, 24))
    seen = torch.einsum("zcyx,c->zyx", estimated.conj(), reference)[inside]
    assert float((seen.imag.abs() / seen.abs()).quantile(0.99)) < 1e-2
    assert float(seen.real.min()) > 0


def test_a_smaller_stack_gives_the_maps_of_the_same_slices_up_to_one_phase() -> None:
    kspace, _, inside = _measured((3, 64, 80), 4)
    whole, one = (Espirit().maps(_centre(k, 20, 24), (64, 80)) for k in (kspace, kspace[1:2]))
    product = (whole[1].conj() * one[0]).sum(0).abs()[inside[1]]
    assert float(product.min()) > 0.9999


def test_convolution_is_the_identity_when_everything_is_signal() -> None:
    data = Noise(2).normal((3, 24, 24), torch.complex64, "white")
    gram = evaluate(convolution(data, 6, 0.0), torch.tensor([-0.5, 0.0, 0.3]), torch.tensor([0.1, 0.2]))
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.complex64).expand(3, 2, 3, 3), rtol=0, atol=1e-4)


def test_first_eigenvectors_are_those_of_lapack() -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.view_as_complex(torch.randn(4, 5, 6, 6, 2, generator=generator)))[0]
    values = torch.tensor([0.98, 0.7, 0.5, 0.2, 0.1, 0.0])
    gram = (basis * values) @ basis.mH
    reference = basis[0, 0, :, 0]
    vectors, found = first_eigenvectors(gram, reference)
    torch.testing.assert_close(found, torch.full((4, 5), 0.98), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((vectors.conj() * basis[..., 0]).sum(-1).abs(), torch.ones(4, 5), rtol=1e-4, atol=1e-4)
    products = vectors.conj() @ reference
    assert float((products.imag / products.abs()).abs().max()) < 1e-3
    assert float(products.real.min()) > 0


@pytest.mark.parametrize("mask", [torch.eye(32), torch.ones(32, 1) * (torch.arange(32) % 2 == 0)])
def test_no_calibration_region_is_refused(mask: Tensor) -> None:
    with pytest.raises(InputRefused, match="at least 4 neighbouring lines") as refusal:
        calibration_region(mask)
    assert refusal.value.code == "E-MRI-02"


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
@pytest.mark.parametrize("lines", [24, 16])
def test_the_subspace_is_that_of_bart(tmp_path: Path, lines: int) -> None:
    kspace, _, inside = _measured((1, 128, 112), 8, noise=0.3)
    _write_cfl(tmp_path / "k", kspace[0].permute(1, 2, 0)[:, :, None].numpy())
    command = ["bart", "ecalib", "-m", "1", "-r", str(lines), "k", "maps"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, env=environment)
    theirs = torch.from_numpy(_read_cfl(tmp_path / "maps")).reshape(128, 112, 8).permute(2, 0, 1)
    ours = Espirit().maps(_centre(kspace, lines, lines), (128, 112))[0]
    norms = torch.linalg.vector_norm(theirs, dim=0)
    both = inside[0] & (norms > 0) & (ours.abs().sum(0) > 0)
    assert int(both.sum()) > 0.98 * int(inside.sum())
    agreement = ((ours.conj() * theirs).sum(0).abs() / norms.clamp(min=1e-9))[both]
    assert float(agreement.min()) > 0.99


def _write_cfl(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.complex64]]) -> None:
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n")
    values.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


def _read_cfl(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.complex64]]:
    shape = [int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    assert math.prod(shape) * 8 == path.with_suffix(".cfl").stat().st_size
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(shape, order="F")
