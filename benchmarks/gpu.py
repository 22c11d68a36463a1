"""Everything worth knowing of a CUDA machine, by one command.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --quick

Prints, as it goes: the device; the CUDA laws of every registered component; forward and adjoint of the CT and MRI
operators with the bytes they must move at least and the share of the device's measured copy bandwidth; each recipe
on the sample scans, GPU beside CPU in the same run; and one denoising of 256 x 256 x 128 by each prior that ships, with
its share of the measured bf16 peak and of the copy bandwidth. Exits with 1 where a law fails or GPU and CPU disagree.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import medldm
from medldm.data import Grid, ReadRequest, Volume
from medldm.host import Host, load_host
from medldm.host.shipped import shipped
from medldm.operators import LinearOperator
from medldm.pipeline.posing import pose
from medldm.pipeline.reading import case_hash, read_image
from medldm.pipeline.recipe import load_recipe, shipped_recipes
from medldm.priors.catalogue import list_priors, open_prior
from medldm.testing.checks import run_checks

SAMPLES = {"mri": ("brain-t1w.nii.gz", "MR"), "ct": ("chest-ct", "CT")}


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of one call after a warm-up, by CUDA events."""
    work()
    times = []
    for _ in range(repeats):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended))
    return statistics.median(times)


def copy_bandwidth() -> float:
    """Bytes per second of a large copy, reads and writes counted."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    ms = milliseconds(lambda: target.copy_(source), 10)
    return 2 * source.numel() * 4 / ms * 1e3


def laws(host: Host) -> int:
    """Failed laws over every component; the CUDA ones are among them."""
    rows = run_checks(host)
    for row in rows:
        if row.status == "failed" or "cuda" in row.law.lower():
            print(f"{row.status:>8}  {row.component}: {row.law} {row.message}")
    return sum(row.status == "failed" for row in rows)


def operator_row(name: str, operator: LinearOperator, bandwidth: float, repeats: int) -> None:
    """Forward and adjoint times, and the share of the copy bandwidth that reading and writing alone needs."""
    generator = torch.Generator("cuda").manual_seed(0)
    x = operator.domain.randn(generator=generator)
    y = operator.codomain.randn(generator=generator)
    least = (x.numel() * x.element_size() + y.numel() * y.element_size()) / bandwidth * 1e3
    forward = milliseconds(lambda: operator.forward(x), repeats)
    adjoint = milliseconds(lambda: operator.adjoint(y), repeats)
    print(f"{name}: forward {forward:.2f} ms ({least / forward:.0%} of a copy), adjoint {adjoint:.2f} ms")


def recipe_rows(host: Host, bandwidth: float, repeats: int) -> int:
    """Each recipe on its sample: operator times, then the whole run on GPU and CPU; 1 per disagreement."""
    wrong = 0
    for path in shipped_recipes():
        sample, modality = SAMPLES[path.stem.split("-")[0]]
        request = ReadRequest(modality="MR" if modality == "MR" else "CT")
        volume: Volume = read_image(host, shipped("sample_data") / sample, request)
        recipe = load_recipe(path.stem)
        measured = medldm.simulate(volume, recipe=recipe, host=host)
        operator = pose(host, recipe, measured, case_hash(volume), torch.device("cuda")).operator
        operator_row(recipe.name, operator, bandwidth, repeats)
        images, seconds = {}, {}
        for device in ("cuda", "cpu"):
            begun = time.perf_counter()
            result = medldm.reconstruct(measured, recipe=recipe.changed(["outputs.gates={}"]), device=device, host=host)
            seconds[device], images[device] = time.perf_counter() - begun, result.image.data
        error = float((images["cuda"] - images["cpu"]).norm() / images["cpu"].norm())
        agrees = error < 1e-3
        wrong += not agrees
        print(
            f"{recipe.name}: {seconds['cuda']:.1f} s on the GPU, {seconds['cpu']:.1f} s on the CPU "
            f"({seconds['cpu'] / seconds['cuda']:.1f} x), they differ by {error:.1e}{'' if agrees else ' FAILED'}"
        )
    return wrong


def matrix_peak() -> float:
    """Operations per second of a large bf16 matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / milliseconds(lambda: a @ b, 10) * 1e3


def prior_rows(host: Host, bandwidth: float, repeats: int) -> None:
    """Each prior that ships, compiled and not: time of a volume, operations and bytes against the device's own peaks.

    The bytes are those of the tensors that convolutions and normalisations read and write, each counted once: what a
    device without any cache would move. A share of the bandwidth near one says that memory is what bounds it.
    """
    peak, grid = matrix_peak(), Grid.isotropic((128, 256, 256))
    print(f"bf16 matrix product {peak / 1e12:.0f} TFLOP/s")
    for row in list_priors():
        model = open_prior(row.folder, host).to("cuda").channels_last()
        for compiled in (False, True):
            prior = (model.compile() if compiled else model).on(grid)
            state = torch.randn(1, *prior.space.shape, device="cuda")
            sigma = torch.full((1,), 0.5, device="cuda")
            with torch.no_grad():
                if not compiled:
                    with FlopCounterMode(display=False) as counter, _Traffic() as traffic:
                        prior.denoise(state, sigma)
                ms = milliseconds(functools.partial(prior.denoise, state, sigma), max(3, repeats // 4))
            flops, moved = counter.get_total_flops() / ms * 1e3, traffic.total / ms * 1e3
            print(
                f"{row.name}{' compiled' if compiled else ''}: {ms:.1f} ms a volume, {flops / 1e12:.0f} TFLOP/s "
                f"({flops / peak:.0%} of the product), {moved / 1e12:.2f} TB/s ({moved / bandwidth:.0%} of a copy), "
                f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
            )


class _Traffic(TorchDispatchMode):
    """Bytes of the tensors that operations read and write; views move none."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [one for one in tree_leaves((args, result)) if isinstance(one, torch.Tensor)]
            self.total += sum(one.numel() * one.element_size() for one in tensors)
        return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    repeats = 3 if parser.parse_args().quick else 20
    if not torch.cuda.is_available():
        print("No CUDA device here: nothing was measured.")
        return 0
    properties = torch.cuda.get_device_properties(0)
    bandwidth = copy_bandwidth()
    print(f"{properties.name}, torch {torch.__version__}, copy {bandwidth / 1e12:.2f} TB/s")
    host = load_host()
    failed = laws(host)
    wrong = recipe_rows(host, bandwidth, repeats)
    prior_rows(host, bandwidth, repeats)
    print(f"{failed} laws failed, {wrong} recipes disagree between GPU and CPU")
    return 1 if failed or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
