"""Problems with known answers, one for every solver of this plugin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from medldm.inference import Gaussian
from medldm.inference.weighted_norm import MARGIN
from medldm.operators import Diagonal, Identity, LinearOperator, Space
from medldm.testing import SolverExample
from medldm.testing.closed_form import AffineRegressor, GaussianLatents, GaussianPrior
from medldm.testing.solver_laws import NOISE
from medldm_solvers.cg_sense import CGSense
from medldm_solvers.cgls import CGLS
from medldm_solvers.dds import DDS
from medldm_solvers.diffpir import DiffPIR
from medldm_solvers.diffusion_mbir import DiffusionMBIR
from medldm_solvers.dps import DPS
from medldm_solvers.fbp import FilteredBackProjection
from medldm_solvers.l1_wavelet import L1Wavelet
from medldm_solvers.latent_zdds import LatentZDDS
from medldm_solvers.noise_range import descent
from medldm_solvers.psld import PSLD
from medldm_solvers.red_diff import REDDiff
from medldm_solvers.resample import ReSample
from medldm_solvers.sart import SART
from medldm_solvers.split_gibbs import SplitGibbs
from medldm_solvers.supervised import Supervised
from medldm_solvers.tv import TotalVariation
from medldm_solvers.wavelet import WaveletTransform
from medldm_solvers.zdds import ZDDS


class Rays(LinearOperator):
    """A small non-negative dense matrix on every slice, with all that tomography offers: views and an inverse.

    Args:
        matrix: ``(view, bin, y, x)``, as many rays as pixels for the filtered adjoint to be the inverse.
        slices: number of slices.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor, slices: int) -> None:
        super().__init__()
        views, bins, ny, nx = matrix.shape
        self.domain = Space(("z", "y", "x"), (slices, ny, nx), matrix.dtype)
        self.codomain = Space(("z", "view", "bin"), (slices, views, bins), matrix.dtype)
        self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("vbij,...ij->...vb", self.matrix, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("vbij,...vb->...ij", self.matrix, y)

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        """``n`` interleaved subsets of the views."""
        index = [torch.arange(i, len(self.matrix), n) for i in range(n)]
        return [(Rays(self.matrix[i], self.domain.shape[0]), i) for i in index]

    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        """The inverse; the window does not matter to it."""
        return _Inverse(self)


class _Inverse(LinearOperator):
    def __init__(self, rays: Rays) -> None:
        super().__init__()
        self.domain, self.codomain = rays.codomain, rays.domain
        shape = rays.matrix.shape
        square = rays.matrix.reshape(shape[0] * shape[1], -1)
        inverse = torch.linalg.inv(square.double()).to(square.dtype)
        self._inverse = inverse.reshape(*shape[2:], *shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ijvb,...vb->...ij", self._inverse, x)

    def adjoint(self, y: Tensor) -> Tensor:
        return torch.einsum("ijvb,...ij->...vb", self._inverse, y)


def rays(dtype: torch.dtype = torch.float32) -> Rays:
    """Three views of four bins over 2 slices of 3 x 4 pixels: every ray meets a pixel and grazes the next."""
    matrix = torch.eye(12, dtype=dtype) + 0.3 * torch.eye(12, dtype=dtype).roll(1, 0)
    return Rays(matrix.reshape(3, 4, 3, 4), slices=2)


def positive_image(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Values between 0.5 and 1.5 without symmetry."""
    i = torch.arange(int(torch.tensor(shape).prod()), dtype=dtype)
    return (1 + 0.5 * torch.sin(1.7 * i + 0.1 * i * i)).reshape(1, *shape)


def _exact(solver: FilteredBackProjection | SART | CGLS, tolerance: float) -> SolverExample:
    A = rays()
    truth = positive_image(A.domain.shape)
    return SolverExample(solver, Gaussian(A, A(truth)[0], 0.1), torch.zeros_like(truth), truth, tolerance)


def fbp() -> SolverExample:
    """An operator whose filtered adjoint is its inverse."""
    return _exact(FilteredBackProjection(), 1e-4)


def sart() -> SolverExample:
    """Consistent data of an invertible matrix: the corrections vanish at the truth only."""
    return _exact(SART(sweeps=30), 1e-3)


def cgls() -> SolverExample:
    """As many iterations as unknowns of a slice and a few more, on consistent data."""
    return _exact(CGLS(iterations=20), 1e-3)


def cg_sense() -> SolverExample:
    """A complex diagonal d: ``u = conj(d) y / (|d|^2 + lam)``."""
    lam = 0.05
    space = Space(("z", "y", "x"), (2, 3, 5), torch.complex64)
    i = torch.arange(30, dtype=torch.float32).reshape(2, 3, 5)
    d = torch.polar(1 + 0.4 * torch.cos(i), 0.3 * i)
    y = torch.polar(positive_image((2, 3, 5))[0], 0.7 * i)
    truth = (d.conj() * y / (d.abs().square() + lam))[None]
    solver = CGSense(lam=lam, iterations=40)
    return SolverExample(solver, Gaussian(Diagonal(space, d), y, 0.1), torch.zeros_like(truth), truth, 1e-4)


def l1_wavelet() -> SolverExample:
    """Denoising by a fixed orthonormal basis is soft-thresholding: of Haar details d by ``lam std^2``.

    The image is flat but for one Haar detail of size 2, which shrinks by the threshold.
    """
    space = Space(("z", "y", "x"), (2, 6, 10))
    psi = WaveletTransform(space, moments=1, levels=1)
    coefficients = torch.zeros(1, *space.shape)
    coefficients[..., :3, :5] = 4.0
    coefficients[:, 0, 4, 2], coefficients[:, 1, 1, 7] = 2.0, -2.0
    y = psi.H(coefficients)
    shrunk = coefficients.clone()
    std, lam = 0.5, 1.2
    # The 0.95 quantile of the start, the unit of lam, is one by construction.
    threshold = lam * std**2
    shrunk[:, 0, 4, 2], shrunk[:, 1, 1, 7] = 2.0 - threshold, -2.0 + threshold
    solver = L1Wavelet(lam=lam, iterations=60, moments=1, levels=1, shifts=False)
    likelihood = Gaussian(Identity(space), y[0], std)
    return SolverExample(solver, likelihood, torch.ones_like(y), psi.H(shrunk), 1e-4)


def tv() -> SolverExample:
    """A step along x between halves of n columns each: both means move towards each other by ``lam std^2 / n``."""
    space = Space(("z", "y", "x"), (2, 3, 8))
    y = torch.zeros(1, *space.shape)
    y[..., 4:] = 2.0
    std, lam = 0.5, 3.0
    truth = y + lam * std**2 / 4 * torch.where(y > 1, -1.0, 1.0)
    likelihood = Gaussian(Identity(space), y[0], std)
    return SolverExample(TotalVariation(lam=lam, iterations=200), likelihood, torch.ones_like(y), truth, 1e-3)


def supervised() -> SolverExample:
    """A regressor whose image ``v`` is affine in the start, then voxel by voxel ``(W q + w v) / (W + w)``."""
    likelihood, _, q = _measured_voxels()
    W = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2
    start = (1.1 * q)[None].to(torch.complex64)
    v = 0.7 * start + (0.2 - 0.1j)
    solver = Supervised(data_step=True, error=0.3, cg_iterations=40)
    w = solver.error**-2
    truth = ((W * q + w * v) / (W + w)).to(torch.complex64)
    prior = AffineRegressor(likelihood.operator.domain, 0.7, 0.2 - 0.1j)
    return SolverExample(solver, likelihood, start, truth, 1e-4, prior)


def zdds() -> SolverExample:
    """Voxels measured by a complex diagonal under a Gaussian prior: each step is affine, see :func:`_through_levels`.

    The image corrected by the data is ``u = (1 - K) v + K q`` with ``K = W / (W + lam / sigma^2)``, and the noise is
    that of ``v``.
    """
    solver = ZDDS(steps=8, zeta=0.3, temperature=1.0, lam=1.5, sigma_max=2.0, sigma_min=0.05, cg_iterations=30)

    def step(sigma: float, x: Tensor, v: Tensor, q: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        K = W / (W + solver.lam / sigma**2)
        return (1 - K) * v + K * q, (1 - solver.zeta) ** 0.5 * (x - v) / sigma

    return _through_levels(solver, solver.zeta, step)


def latent_zdds() -> SolverExample:
    """The recursion of :func:`zdds` on latents that are the image mirrored and made three times as small."""
    solver = LatentZDDS(steps=8, zeta=0.3, temperature=1.0, lam=1.5, sigma_max=2.0, sigma_min=0.05, cg_iterations=30)
    likelihood, images, q = _measured_voxels()
    prior = GaussianLatents(images.space, images.mean, 0.5, gain=3.0, error=0.2)
    W, start = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2, torch.zeros(1, *q.shape).to(q)
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    z = levels[0] * NOISE.like(start, "start", step=0)
    u = start
    for k, (sigma, after) in enumerate(pairwise(levels)):
        clean = prior.mean + 0.5**2 / (0.5**2 + sigma**2) * (z - prior.mean)
        correction = torch.zeros_like(clean)
        if k % solver.every == 0 or after == 0:
            v = 3 * clean.flip(-1)
            K = W / (W + solver.lam / (9 * sigma**2 + 0.2**2))
            u = (1 - K) * v + K * q
            correction = (u - v).flip(-1) / 3
        fresh = NOISE.like(start, "renoise", step=k)
        kept = (1 - solver.zeta) ** 0.5 * (z - clean) / sigma
        z = clean + correction + after * (kept + solver.zeta**0.5 * fresh)
    truth = u.to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 1e-3, prior)


def resample() -> SolverExample:
    """Latents as in :func:`latent_zdds`, fitted as images by hand and as latents by PyTorch's Adam, then drawn anew."""
    solver = ReSample(steps=8, every=3, gamma=3.0, split=0.4, lam=1.5, adam_iterations=6, sigma_min=0.05)
    likelihood, images, q = _measured_voxels()
    prior = GaussianLatents(images.space, images.mean, 0.5, gain=3.0, error=0.2)
    W, start = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2, torch.zeros(1, *q.shape).to(q)
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    z = levels[0] * NOISE.like(start, "start", step=0)
    u = start
    for k, (sigma, after) in enumerate(pairwise(levels)):
        clean = prior.mean + 0.5**2 / (0.5**2 + sigma**2) * (z - prior.mean)
        z = clean + after / sigma * (z - clean)
        if k % solver.every and after > 0:
            continue
        v, w = 3 * clean.flip(-1), solver.lam / (9 * sigma**2 + 0.2**2)
        parts = torch.view_as_real(clean.clone())
        adam = torch.optim.Adam([parts], lr=solver.rate)
        for _ in range(solver.adam_iterations):
            u = 3 * torch.view_as_complex(parts).flip(-1)
            parts.grad = torch.view_as_real(3 * (W * (u - q) + w * (u - v)).flip(-1))
            adam.step()
        u = 3 * torch.view_as_complex(parts).flip(-1) if sigma < solver.split else (W * q + w * v) / (W + w)
        fitted, share = u.flip(-1) / 3, 1 / (1 + solver.gamma * (1 - (after / sigma) ** 2))
        kept = share * (z - fitted) if after > 0 else 0
        z = fitted + kept + after * (1 - share) ** 0.5 * NOISE.like(start, "resample", step=k)
    truth = u.to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 1e-3, prior)


def psld() -> SolverExample:
    """The gradients by hand: of the misfit as in :func:`dps`, and of ``|g (z0 - z_q)|``, which is all the gluing here.

    ``z_q`` is the latent of what the measurement alone says, ``g = W / max W`` what a gradient step makes of it.
    """
    solver = PSLD(steps=8, omega=0.7, gamma=0.4, sigma_min=0.05)
    likelihood, images, q = _measured_voxels()
    prior = GaussianLatents(images.space, images.mean, 0.5, gain=3.0)
    W, start = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2, torch.zeros(1, *q.shape).to(q)
    length, g = 30**0.5 / solver.steps, W.flip(-1) / W.max()
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    z = levels[0] * NOISE.like(start, "start", step=0)
    for k, (a, b) in enumerate(pairwise(levels)):
        c = 0.5**2 / (0.5**2 + a**2)
        clean = prior.mean + c * (z - prior.mean)
        apart = clean - q.flip(-1) / 3
        misfit = W.flip(-1) * apart / (W.flip(-1) * apart.abs().square()).sum().sqrt() / (MARGIN * W.max() ** 0.5)
        gluing = g**2 * apart / (g * apart).abs().square().sum().sqrt()
        fresh = b * (1 - (b / a) ** 2) ** 0.5 * NOISE.like(start, "renoise", step=k)
        gradient = c * (solver.omega * misfit + solver.gamma * gluing)
        z = clean + (b / a) ** 2 * (z - clean) + fresh - length * ((1 + a**2) * (1 + b**2)) ** 0.5 * gradient
    truth = (3 * z.flip(-1)).to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 4e-3, prior)


def diffpir() -> SolverExample:
    """The same as :func:`zdds`, but the noise is that of ``u``."""
    solver = DiffPIR(steps=8, zeta=0.3, lam=1.5, sigma_max=2.0, sigma_min=0.05, cg_iterations=30)

    def step(sigma: float, x: Tensor, v: Tensor, q: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        K = W / (W + solver.lam / sigma**2)
        u = (1 - K) * v + K * q
        return u, (1 - solver.zeta) ** 0.5 * (x - u) / sigma

    return _through_levels(solver, solver.zeta, step)


def dds() -> SolverExample:
    """The same as :func:`zdds`, but ``K = g / (g + 1)`` with ``g = gamma |d|^2 / max |d|^2`` at every level."""
    solver = DDS(steps=8, eta=0.5, gamma=4.0, sigma_max=2.0, sigma_min=0.05, cg_iterations=30)

    def step(sigma: float, x: Tensor, v: Tensor, q: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        assert solver.gamma is not None
        g = solver.gamma * W / (W.max() * MARGIN**2)
        return (v + g * q) / (1 + g), (1 - solver.eta**2) ** 0.5 * (x - v) / sigma

    return _through_levels(solver, solver.eta**2, step, tolerance=2e-3)


def split_gibbs() -> SolverExample:
    """Measurement and prior, equally sure, contradict each other by far more than the posterior spreads.

    Their variances are ``0.02^2``, so the mean of the posterior lies in the middle and a draw 0.014 from it.
    """
    space = Space(("z", "y", "x"), (2, 3, 5), torch.complex64)
    q = torch.polar(1 + positive_image((2, 3, 5))[0], 0.7 * torch.arange(30.0).reshape(2, 3, 5))
    d = torch.polar(torch.full((2, 3, 5), 2.0), 0.3 * torch.arange(30.0).reshape(2, 3, 5))
    mean = torch.tensor(0.3 - 0.4j)
    likelihood = Gaussian(Diagonal(space, d), d * q, 0.04)
    truth = ((mean + q) / 2)[None]
    solver = SplitGibbs(steps=60, hold=0, inner=8, sigma_max=0.1, sigma_min=0.003)
    prior = GaussianPrior(space, mean, 0.02)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 0.06, prior)


def dps() -> SolverExample:
    """The gradient by hand: ``c conj(d) W (d D(x) - y) / |W^(1/2) (d D(x) - y)|``, ``c`` the slope of the denoiser."""
    solver = DPS(steps=8, zeta=0.7, sigma_max=2.0, sigma_min=0.05)
    likelihood, prior, q = _measured_voxels()
    W, start = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2, torch.zeros(1, *q.shape).to(q)
    length = solver.zeta * 30**0.5 / (solver.steps * MARGIN * W.max() ** 0.5)
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    x = start + levels[0] * NOISE.like(start, "start", step=0)
    for k, (a, b) in enumerate(pairwise(levels)):
        c = 0.5**2 / (0.5**2 + a**2)
        v = prior.mean + c * (x - prior.mean)
        gradient = c * W * (v - q) / (W * (v - q).abs().square()).sum().sqrt()
        fresh = b * (1 - (b / a) ** 2) ** 0.5 * NOISE.like(start, "renoise", step=k)
        x = v + (b / a) ** 2 * (x - v) + fresh - length * ((1 + a**2) * (1 + b**2)) ** 0.5 * gradient
    truth = x.to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 2e-3, prior)


def red_diff() -> SolverExample:
    """PyTorch's Adam on the gradient by hand: ``W (mu - q) / max W + lam sigma (eps - n)``."""
    solver = REDDiff(steps=30, lam=0.5, rate=0.05, sigma_max=2.0, sigma_min=0.05)
    likelihood, prior, q = _measured_voxels()
    W = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2
    mu = torch.zeros(1, *q.shape).to(q)
    parts = torch.view_as_real(mu)
    adam = torch.optim.Adam([parts], lr=solver.rate, betas=(0.9, 0.99), eps=1e-8)
    for k, sigma in enumerate(descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)[:-1]):
        n = NOISE.like(mu, "renoise", step=k)
        # eps = (x - D(x)) / sigma of a Gaussian
        eps = sigma / (0.5**2 + sigma**2) * (mu + sigma * n - prior.mean)
        gradient = W * (mu - q) / (MARGIN**2 * W.max()) + solver.lam * sigma * (eps - n)
        parts.grad = torch.view_as_real(gradient.resolve_conj())
        adam.step()
    truth = mu.to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 5e-3, prior)


def diffusion_mbir() -> SolverExample:
    """All measured, and solved to the end: the total variation moves two halves of two slices by ``lam / 2``."""
    space = Space(("z", "y", "x"), (4, 3, 5), torch.complex64)
    y = torch.full((1, 4, 3, 5), 0.5j, dtype=torch.complex64)
    y[:, 2:] = 2.0
    solver = DiffusionMBIR(steps=200, lam=0.3, penalty=0.5, cg_iterations=20, sigma_max=2.0, sigma_min=0.01)
    shift = 0.5 * solver.lam * MARGIN**2 * (2 - 0.5j) / abs(2 - 0.5j)
    truth = torch.cat((y[:, :2] + shift, y[:, 2:] - shift), 1)
    likelihood, prior = Gaussian(Identity(space), y[0], 0.1), GaussianPrior(space, 0.5, 0.5)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, 5e-3, prior)


_AffineStep = Callable[[float, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _through_levels(
    solver: ZDDS | DiffPIR | DDS, zeta: float, step: _AffineStep, tolerance: float = 1e-3
) -> SolverExample:
    """``x' = u + sigma' (e + sqrt(zeta) n)`` from the start to the last level, voxel by voxel.

    Args:
        solver: on the problem of :func:`_measured_voxels`.
        zeta: share of new noise.
        step: ``(u, e)`` of the level, the state ``x``, its denoised image ``v = m + s^2 / (s^2 + sigma^2) (x - m)``,
            what the measurement alone says ``q = y / d``, and its weight ``W = |d|^2 / std^2``.
        tolerance: of the example; the power method finds a norm to a fraction of a per cent.
    """
    likelihood, prior, q = _measured_voxels()
    W, start = likelihood.operator.gram(torch.ones_like(q)).real / 0.2**2, torch.zeros(1, *q.shape).to(q)
    levels = descent(prior, solver.steps, low=solver.sigma_min, high=solver.sigma_max)
    x = start + levels[0] * NOISE.like(start, "start", step=0)
    for k, (sigma, after) in enumerate(pairwise(levels)):
        u, e = step(sigma, x, prior.mean + 0.5**2 / (0.5**2 + sigma**2) * (x - prior.mean), q, W)
        x = u + after * (e + zeta**0.5 * NOISE.like(start, "renoise", step=k))
    truth = x.to(torch.complex64)
    return SolverExample(solver, likelihood, torch.zeros_like(truth), truth, tolerance, prior)


def _measured_voxels() -> tuple[Gaussian, GaussianPrior, Tensor]:
    """Likelihood with ``std = 0.2``, prior with ``s = 0.5`` per real component, and what the measurement alone says."""
    space = Space(("z", "y", "x"), (2, 3, 5), torch.complex64)
    i = torch.arange(30, dtype=torch.float64).reshape(2, 3, 5)
    d = torch.polar(1 + 0.6 * torch.cos(i), 0.3 * i)
    q = torch.polar(positive_image((2, 3, 5), torch.float64)[0], 0.7 * i)
    likelihood = Gaussian(Diagonal(space, d.to(torch.complex64)), (d * q).to(torch.complex64), 0.2)
    return likelihood, GaussianPrior(space, torch.tensor(0.3 - 0.4j), 0.5), q
