"""Each law of physics, solvers, readers, writers and metrics fails for a component broken in that way only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medldm.data import Acquisition, AffineMap, Grid, Provenance, ReadRequest, SeriesRow, Source, Volume
from medldm.errors import InputRefused, UsageError
from medldm.inference import Denoiser, DiffusionPrior, Gaussian, LatentPrior, Likelihood, Noise, Step
from medldm.inference.slicewise import SlicewisePrior
from medldm.operators import Diagonal, LinearOperator, Space
from medldm.testing import (
    MetricExample,
    PhysicsExample,
    ReaderExample,
    SolverExample,
    WriterExample,
    contracts,
    metric_laws,
    physics_laws,
    reader_laws,
    solver_laws,
    writer_laws,
)
from medldm.testing.closed_form import GaussianNetwork, OrthonormalAutoencoder
from medldm.testing.law import NotApplicable

GRID = Grid.isotropic((3, 4, 5), (2.0, 1.0, 0.5))
VOLUME = Volume(1 + torch.rand(GRID.shape, generator=torch.Generator().manual_seed(1)), GRID, "HU", "CT", "scan")
SPACE = Space(("z", "y", "x"), GRID.shape)
MASK = Diagonal(SPACE, (torch.rand(GRID.shape, generator=torch.Generator().manual_seed(2)) > 0.2).float())


class Shifted(Gaussian):
    """A likelihood with a wrong gradient, or a wrong proximal step."""

    def gradient(self, u: Tensor) -> Tensor:
        return 1.01 * super().gradient(u)


class Unfinished(Gaussian):
    def prox(self, v: Tensor, *_: Any, **__: Any) -> Tensor:
        return v


class Summed(Gaussian):
    def energy(self, u: Tensor) -> Tensor:
        return super().energy(u).sum()


@dataclass(frozen=True)
class Masked:
    """Every voxel measured alone, some not at all."""

    broken: str = ""

    def simulate(self, volume: Volume, noise: Noise) -> Acquisition:
        if self.broken == "changes":
            volume.data.mul_(2.0)
        seed = torch.Generator()
        seed.seed()
        drawn = noise.normal(GRID.shape, torch.float32, "measurement" if self.broken != "seed" else "", std=0.1)
        if self.broken == "seed":
            drawn = torch.full_like(drawn, 0.1)
        if self.broken == "random":
            drawn = 0.1 * torch.randn(GRID.shape, generator=seed)
        data = MASK(volume.data) + drawn
        return Acquisition(
            "masked",
            data,
            ("z", "y", "x"),
            GRID,
            "HU",
            "CT",
            AffineMap.identity("HU"),
            noise_std=0.1,
            simulated=self.broken != "mark",
        )

    def operator(self, acquisition: Acquisition, grid: Grid) -> LinearOperator:
        if self.broken == "operator":
            return Diagonal(Space(("y", "z", "x"), SPACE.shape), MASK.diagonal)
        return MASK

    def likelihood(self, acquisition: Acquisition, operator: LinearOperator) -> Likelihood:
        kinds: dict[str, type[Gaussian]] = {"gradient": Shifted, "prox": Unfinished, "energy": Summed}
        return kinds.get(self.broken, Gaussian)(operator, acquisition.data, std=0.1)

    def start(self, acquisition: Acquisition, operator: LinearOperator) -> Tensor:
        start = operator.adjoint(acquisition.data)
        if self.broken == "sign":
            return -start
        return start[None] if self.broken == "start" else start


class TestMasked(contracts.PhysicsContract):
    @pytest.fixture
    def example(self) -> PhysicsExample:
        return PhysicsExample(Masked(), VOLUME)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (physics_laws.law_simulation_is_marked, "mark"),
        (physics_laws.law_simulation_is_reproducible, "random"),
        (physics_laws.law_seeds_differ, "seed"),
        (physics_laws.law_simulation_leaves_the_volume_alone, "changes"),
        (physics_laws.law_operator_fits, "operator"),
        (physics_laws.law_start_fits, "start"),
        (physics_laws.law_start_explains_more_than_nothing, "sign"),
        (physics_laws.law_gradient, "gradient"),
        (physics_laws.law_energy_of_a_batch, "energy"),
        (physics_laws.law_prox_is_stationary, "prox"),
    ],
)
def test_a_broken_physics_is_found(law: physics_laws.PhysicsLaw, broken: str) -> None:
    volume = replace(VOLUME, data=VOLUME.data.clone())
    with pytest.raises(AssertionError):
        law(physics_laws.pose(PhysicsExample(Masked(broken), volume)))


def test_a_measurement_with_nan_is_found() -> None:
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    broken = replace(posed, acquisition=replace(posed.acquisition, data=posed.acquisition.data / 0.0))
    with pytest.raises(AssertionError):
        physics_laws.law_measurement_is_finite(broken)


def test_without_noise_there_is_no_energy_to_test() -> None:
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    noiseless = replace(posed, acquisition=replace(posed.acquisition, noise_std=0.0))
    for law in (physics_laws.law_seeds_differ, physics_laws.law_gradient, physics_laws.law_chi):
        with pytest.raises(NotApplicable):
            law(noiseless)


def test_a_square_example_is_found() -> None:
    grid = Grid.isotropic((4, 4, 5))
    posed = physics_laws.pose(PhysicsExample(Masked(), VOLUME))
    square = replace(posed, example=PhysicsExample(Masked(), Volume(torch.zeros(4, 4, 5), grid)))
    with pytest.raises(AssertionError):
        physics_laws.law_example_is_not_square(square)


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum (Polyak 1964): the momentum must be part of the state."""

    iterations: int = 60
    broken: str = ""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        u, velocity, first = start, torch.zeros_like(start), 0
        if state is not None:
            u, first = state["u"], int(state["step"]) + 1
            velocity = torch.zeros_like(start) if self.broken == "state" else state["velocity"]
        for k in range(first, self.iterations):
            gradient = likelihood.gradient(u)
            if self.broken == "mix":
                gradient = gradient + 0.05 * (u - u.mean(0, keepdim=True))
            velocity = 0.5 * velocity - 0.4 * gradient
            if self.broken == "start" and k == 0:
                u += velocity
            else:
                u = u + velocity
            if self.broken == "random":
                u = u + 1e-3 * torch.rand(1)
            index = k if self.broken != "index" else 2 * k
            kept: dict[str, Any] = {"u": u, "velocity": velocity, "step": torch.tensor(k)}
            if self.broken == "names":
                kept["name"] = "momentum"
            estimate = u[0] if self.broken == "shape" else u
            yield Step(index, self.iterations, None, u, estimate, kept)


def problem(broken: str = "", iterations: int = 60) -> SolverExample:
    truth = VOLUME.data[None]
    full = Diagonal(SPACE, torch.linspace(0.5, 1.0, 60).reshape(GRID.shape))
    return SolverExample(
        Momentum(iterations, broken), Gaussian(full, full(truth[0]), std=1.0), torch.zeros_like(truth), truth, 1e-2
    )


class TestMomentum(contracts.SolverContract):
    @pytest.fixture
    def example(self) -> SolverExample:
        return problem()


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (solver_laws.law_yields_every_step, "index"),
        (solver_laws.law_estimates_fit, "shape"),
        (solver_laws.law_state_is_tensors, "names"),
        (solver_laws.law_resumes, "state"),
        (solver_laws.law_reproducible, "random"),
        (solver_laws.law_inputs_unchanged, "start"),
        (solver_laws.law_samples_do_not_mix, "mix"),
    ],
)
def test_a_broken_solver_is_found(law: solver_laws.SolverLaw, broken: str) -> None:
    with pytest.raises(AssertionError):
        law(problem(broken, iterations=8))


def test_a_solver_that_does_not_arrive_is_found() -> None:
    with pytest.raises(AssertionError):
        solver_laws.law_recovers_the_truth(problem(iterations=2))
    with pytest.raises(AssertionError):
        solver_laws.law_does_more_than_the_start(replace(problem(), start=problem().truth))


@dataclass(frozen=True)
class Renoising:
    """Denoise, pull towards the measurement, add noise again: the state is that of the prior, here a latent."""

    broken: str = ""

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        assert prior is not None
        levels = [5.0, 1.0, 0.3, 0.1, 0.0]
        if state is not None:
            z, first = state["z"], int(state["index"]) + 1
        else:
            z, first = prior.encode(start), 0
            z = z + levels[0] * noise.like(z, "start", step=0)
        for k in range(first, 4):
            sigma = torch.full((len(z),), levels[k])
            z = z.requires_grad_(self.broken == "graph")
            clean = prior.decode(prior.denoise(z, sigma))
            if self.broken == "mix":
                clean = clean + 0.05 * (clean - clean.mean(0, keepdim=True))
            estimate = clean if self.broken == "prox" else likelihood.prox(clean, 4.0, iterations=20)
            z = prior.encode(estimate)
            z = z + levels[k + 1] * noise.like(z, "renoise", step=k)
            yield Step(k, 4, levels[k], z, estimate, {"z": z, "index": torch.tensor(k)})


MEAN = 0.3


def latent_problem(broken: str = "", std: float = 1e-3) -> SolverExample:
    """Independent Gaussian latents under a decoder that loses nothing: so is the image, and its last step is known."""
    shape = (3, 4, 6)
    space = Space(("z", "y", "x"), shape)
    autoencoder = OrthonormalAutoencoder()
    mean = autoencoder.moments(torch.full((1, 1, 4, 6), MEAN))[0][0]
    latent = LatentPrior(
        Denoiser(GaussianNetwork.edm(mean, std), GaussianNetwork.edm().parametrization), autoencoder, (4, 6)
    )
    y = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    # Behind a sharp prior the denoised image is the mean, and the step weighs it 4 to 1 / 0.5^2.
    truth = (4 * MEAN + 4 * y) / 8
    prior = SlicewisePrior(latent, 3)
    return SolverExample(
        Renoising(broken),
        Gaussian(Diagonal(space, torch.ones(())), y, 0.5),
        torch.zeros(1, *shape),
        truth[None],
        1e-3,
        prior,
    )


class TestRenoising(contracts.SolverContract):
    @pytest.fixture
    def example(self) -> SolverExample:
        return latent_problem()


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (solver_laws.law_keeps_no_graph, "graph"),
        (solver_laws.law_proximal_as_declared, "prox"),
        (solver_laws.law_samples_do_not_mix, "mix"),
    ],
)
def test_a_broken_solver_with_a_prior_is_found(law: solver_laws.SolverLaw, broken: str) -> None:
    with pytest.raises(AssertionError):
        law(latent_problem(broken, std=0.5))


@dataclass(frozen=True)
class RawReader:
    """60 float32 values after four letters."""

    broken: str = ""

    def accepts(self, path: Path) -> bool:
        if self.broken == "accepts":
            return True
        return path.is_file() and path.read_bytes()[:4] == b"RAW1" and self.broken != "declines"

    def inspect(self, path: Path) -> list[SeriesRow]:
        shape = (4, 3, 5) if self.broken == "inspect" else GRID.shape
        return [SeriesRow(1, "1", "raw", "CT", "", 1, shape, GRID.spacing, GRID.orientation)]

    def read(self, path: Path, request: ReadRequest) -> Sequence[Volume | Acquisition]:
        if self.broken == "bare":
            content = path.read_bytes()
        elif not path.is_file() or not path.read_bytes().startswith(b"RAW1"):
            raise InputRefused("E-RAW-01", "There is no raw image.")
        else:
            content = path.read_bytes()
        values = content[4:]
        if self.broken == "padded":
            values = values.ljust(240, b"\0")
        elif len(values) != 240:
            raise InputRefused("E-RAW-02", "The raw image ends early.")
        data = torch.frombuffer(bytearray(values), dtype=torch.float32).reshape(GRID.shape)
        grid = Grid.isotropic(GRID.shape) if self.broken == "grid" else GRID
        if self.broken == "litters":
            path.with_suffix(".index").write_text("seen")
        if self.broken == "values":
            data = data.flip(0)
        return [Volume(data, grid, "HU", "CT", source=Source("raw", (path,)))]


def raw(folder: Path) -> Path:
    path = folder / "scan.raw"
    path.write_bytes(b"RAW1" + VOLUME.data.numpy().tobytes())
    return path


class TestRawReader(contracts.ReaderContract):
    @pytest.fixture
    def example(self) -> ReaderExample:
        return ReaderExample(RawReader(), raw, VOLUME)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (reader_laws.law_accepts_its_own, "declines"),
        (reader_laws.law_declines_what_is_not_its_own, "accepts"),
        (reader_laws.law_inspects, "inspect"),
        (reader_laws.law_reads_what_was_written, "grid"),
        (reader_laws.law_reads_what_was_written, "values"),
        (reader_laws.law_reading_is_repeatable, "litters"),
        (reader_laws.law_refuses_what_is_missing, "bare"),
        (reader_laws.law_refuses_truncated_files, "padded"),
    ],
)
def test_a_broken_reader_is_found(law: reader_laws.ReaderLaw, broken: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law(ReaderExample(RawReader(broken), raw, VOLUME), tmp_path)


@dataclass(frozen=True)
class RawWriter:
    """The inverse of :class:`RawReader`."""

    broken: str = ""

    def write(self, volume: Volume, folder: Path, stem: str, provenance: Provenance) -> list[Path]:
        path = folder / (f"{stem}.raw" if self.broken != "stem" else "out.raw")
        if path.exists() and self.broken != "overwrites":
            raise UsageError("E-RAW-03", "The file exists.")
        content = b"RAW1" + (volume.data * (1.01 if self.broken == "values" else 1.0)).numpy().tobytes()
        if self.broken == "direct":
            path.write_bytes(content)
            return [path]
        if self.broken == "changes":
            volume.data.mul_(2.0)
        if self.broken == "names":
            (folder / "image.log").write_text("written")
        if self.broken == "folder":
            (folder / "image.log").write_text(str(folder))
            return [self._put(path, content), folder / "image.log"]
        return [self._put(path, content)]

    def _put(self, path: Path, content: bytes) -> Path:
        aside = path.with_name(f".{path.name}.part")
        aside.write_bytes(content)
        try:
            aside.replace(path)
        finally:
            if self.broken != "remainder":
                aside.unlink(missing_ok=True)
        return path


def image() -> Volume:
    return replace(VOLUME, data=VOLUME.data.clone())


class TestRawWriter(contracts.WriterContract):
    @pytest.fixture
    def example(self) -> WriterExample:
        return WriterExample(RawWriter(), image(), RawReader(), tolerance=0.0)


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (writer_laws.law_round_trip, "values"),
        (writer_laws.law_tells_what_it_wrote, "names"),
        (writer_laws.law_tells_what_it_wrote, "stem"),
        (writer_laws.law_writing_is_repeatable, "folder"),
        (writer_laws.law_overwrites_nothing, "overwrites"),
        (writer_laws.law_leaves_nothing_half_written, "direct"),
        (writer_laws.law_leaves_nothing_half_written, "remainder"),
        (writer_laws.law_inputs_unchanged, "changes"),
    ],
)
def test_a_broken_writer_is_found(law: writer_laws.WriterLaw, broken: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        law(WriterExample(RawWriter(broken), image(), RawReader(), tolerance=0.0), tmp_path)


def error(estimate: Volume, truth: Volume) -> dict[str, float]:
    if estimate.grid != truth.grid:
        raise UsageError("E-MET-99", "The grids differ.")
    mse = float((estimate.data - truth.data).square().mean())
    return {"rmse": math.sqrt(mse) if mse >= 0 else mse, "psnr": -10 * math.log10(mse) if mse > 0 else _unbounded(mse)}


def _unbounded(mse: float) -> float:
    return math.inf if mse == 0 else math.nan


PERFECT = {"rmse": 0.0, "psnr": math.inf}
Metric = Callable[[Volume, Volume], Mapping[str, float]]


class TestError(contracts.MetricContract):
    @pytest.fixture
    def example(self) -> MetricExample:
        return MetricExample(error, VOLUME, PERFECT)


def changes(estimate: Volume, truth: Volume) -> Mapping[str, float]:
    values = error(estimate, truth)
    estimate.data.zero_()
    return values


@pytest.mark.parametrize(
    ("law", "metric"),
    [
        (metric_laws.law_perfect, lambda a, b: {"rmse": 0.1, "psnr": 1.0}),
        (metric_laws.law_worse_for_more_noise, lambda a, b: {"rmse": 0.1, "psnr": -error(a, b)["psnr"]}),
        (metric_laws.law_plain_numbers, lambda a, b: {"rmse": torch.tensor(1.0)}),
        (metric_laws.law_refuses_another_grid, lambda a, b: {"rmse": 0.0}),
        (metric_laws.law_never_flatters_nan, lambda a, b: {"rmse": 0.0, "psnr": 99.0}),
        (metric_laws.law_inputs_unchanged, changes),
    ],
)
def test_a_broken_metric_is_found(law: metric_laws.MetricLaw, metric: Metric) -> None:
    with pytest.raises(AssertionError):
        law(MetricExample(metric, VOLUME, PERFECT))
