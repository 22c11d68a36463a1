"""Speed and error of SENSE along 64 spokes of 640 samples, 8 coils, 320 x 320, beside other libraries.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/operators_nufft.py
    PYTHONPATH=/folder/with/peers python benchmarks/operators_nufft.py --rounds 5 --threads 1

finufft (its plans kept), sigpy and mrpro are left out where they are not installed; all multiply by the coil maps and
sum over them. Every round runs each library once more, one after the other; the smallest time counts. The error is that
of the samples against FINUFFT in double precision at 1e-13, of white noise.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SIZE, COILS, SHOTS, SAMPLES = 320, 8, 64, 640
Apply = Callable[[], Any]


def problem() -> tuple[Any, Any, Any, Any]:
    """Points (sample, 2) in cycles per field of view, maps (coil, y, x), image (y, x), samples (coil, sample)."""
    draws = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return draws.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]

    angle = np.arange(SHOTS) * np.pi / SHOTS
    radius = (np.arange(SAMPLES) - SAMPLES // 2) / SAMPLES * SIZE
    points = np.stack([np.outer(np.sin(angle), radius).ravel(), np.outer(np.cos(angle), radius).ravel()], 1)
    maps = noise(COILS, SIZE, SIZE)
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    return points, maps, noise(SIZE, SIZE), noise(COILS, SHOTS * SAMPLES)


def own() -> tuple[Apply, Apply, Apply | None]:
    return _ours("gridding")


def own_finufft() -> tuple[Apply, Apply, Apply | None]:
    return _ours("finufft")


def _ours(nufft: str) -> tuple[Apply, Apply, Apply | None]:
    from medldm_mri.finufft_transform import FinufftTransform
    from medldm_mri.gridding import Gridding
    from medldm_mri.nonuniform_sense import NonuniformSense
    from medldm_mri.toeplitz import PointSpread

    points, maps, x, y = (torch.from_numpy(a) for a in problem())
    kind = Gridding if nufft == "gridding" else FinufftTransform
    transform = kind(points, (SIZE, SIZE))
    spread = PointSpread(points, torch.ones(len(points)), (SIZE, SIZE))
    operator = NonuniformSense(maps[None], transform, torch.ones(SHOTS, SAMPLES), spread)
    image, samples, gram = x[None], y.view(1, COILS, SHOTS, SAMPLES), operator.gram
    return lambda: operator.forward(image), lambda: operator.adjoint(samples), lambda: gram.forward(image)


def finufft_direct() -> tuple[Apply, Apply, Apply | None]:
    import finufft

    points, maps, x, y = problem()
    axes = [np.ascontiguousarray(2 * np.pi / SIZE * points[:, i]).astype(np.float32) for i in (0, 1)]
    options: dict[str, Any] = {"n_trans": COILS, "eps": 1e-5, "dtype": "complex64", "nthreads": torch.get_num_threads()}
    two, one = (finufft.Plan(k, (SIZE, SIZE), isign=s, upsampfac=1.5, **options) for k, s in ((2, -1), (1, 1)))
    two.setpts(*axes)
    one.setpts(*axes)
    return lambda: two.execute(maps * x) / SIZE, lambda: (one.execute(y) * maps.conj()).sum(0) / SIZE, None


def sigpy() -> tuple[Apply, Apply, Apply | None]:
    import sigpy.mri.linop

    points, maps, x, y = problem()
    operator = sigpy.mri.linop.Sense(maps, coord=points.astype(np.float32))
    adjoint = operator.H
    # Its NUFFT is scaled by the size of its fine grid; only the error is sensitive to that, and rescaled.
    return lambda: operator * x, lambda: adjoint * y, None


def mrpro() -> tuple[Apply, Apply, Apply | None]:
    from mrpro.data import KTrajectory, SpatialDimension
    from mrpro.operators import FourierOp, SensitivityOp

    points, maps, x, y = (torch.from_numpy(a) for a in problem())
    ky, kx = (points[:, i].reshape(1, 1, 1, SHOTS, SAMPLES).float() for i in (0, 1))
    size = SpatialDimension(1, SIZE, SIZE)
    trajectory = KTrajectory(torch.zeros(1, 1, 1, 1, 1), ky, kx)
    operator = FourierOp(size, size, trajectory) @ SensitivityOp(maps[None, :, None])
    adjoint = operator.H
    image, samples = x[None, None, None], y.view(1, COILS, 1, SHOTS, SAMPLES)
    return lambda: operator(image)[0], lambda: adjoint(samples)[0], None


LIBRARIES = {
    "medldm, gridding": own,
    "medldm, finufft": own_finufft,
    "finufft": finufft_direct,
    "sigpy": sigpy,
    "mrpro": mrpro,
}


def exact() -> Any:
    """The samples (coil, sample) in double precision."""
    import finufft

    points, maps, x, _ = problem()
    turns = 2 * math.pi / SIZE * points
    images = (maps.astype(complex) * x).astype(complex)
    return finufft.nufft2d2(turns[:, 0].copy(), turns[:, 1].copy(), images, isign=-1, eps=1e-13) / SIZE


def smallest(apply: Apply, repeats: int) -> float:
    """Milliseconds of the quickest of some calls, after one to warm up."""
    apply()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        apply()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def error_of(result: Any, truth: Any) -> float:
    found = np.asarray(result).reshape(truth.shape)
    found = found * (np.vdot(found, truth) / np.vdot(found, found))
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7, help="calls per round")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    truth, ready, best, errors = exact(), {}, {}, {}
    for name, make in LIBRARIES.items():
        try:
            applies = [a for a in make() if a is not None]
            errors[name] = error_of(applies[0](), truth)
            ready[name] = applies
        except Exception as reason:
            print(f"{name:18} not measured: {type(reason).__name__}: {str(reason)[:90]}")
    with torch.no_grad():
        for _ in range(options.rounds):
            for name, applies in ready.items():
                times = [smallest(apply, options.repeats) for apply in applies]
                best[name] = [min(p) for p in zip(times, best.get(name, times), strict=True)]
    print(f"torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'ms':18}{'forward':>10}{'adjoint':>10}{'gram':>10}{'error':>10}")
    for name, times in best.items():
        cells = "".join(f"{t:10.1f}" for t in times) + " " * (10 * (3 - len(times)))
        print(f"{name:18}{cells}{errors[name]:10.1e}")


if __name__ == "__main__":
    main()
