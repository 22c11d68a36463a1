"""Speed of Cartesian SENSE and ESPIRiT beside other libraries, as ratios in one run.

    python benchmarks/operators_mri.py
    python benchmarks/operators_mri.py --peers /path/to/other/venv/bin/python --rounds 5

Peers that are not installed are left out: sigpy, mrpro and deepinv are looked for in this interpreter, or in the one
given by ``--peers``; BART (``ecalib``) on the PATH. All run one after the other, in every round, with two threads; the
smallest time of all rounds counts. A ratio above 1 means that medldm is quicker. ``difference`` is the relative
difference of the library's k-space from ours. On a busy machine set OMP_WAIT_POLICY=PASSIVE, or threads wait for each
other spinning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

SIZE, COILS, THREADS = 320, 8, 2
Apply = Callable[[], Any]
# A CPU build of torch beside the usual torchvision lacks these operators. Neither peer uses them here, but both import
# them; they are declared for as long as the library object lives.
_ROI = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
_TORCHVISION = ("nms", "qnms", *_ROI, *(f"_{name}_backward" for name in _ROI))


def coil_maps() -> np.ndarray[Any, Any]:
    """Gaussian lobes around the image (coil, y, x), sum of squares 1."""
    place = (np.arange(SIZE) - SIZE / 2) / (SIZE / 2)
    x, y = np.meshgrid(place, place)
    turns = 2 * np.pi * np.arange(COILS) / COILS
    lobes = [np.exp(-((x - 1.1 * np.cos(t)) ** 2 + (y - 1.1 * np.sin(t)) ** 2) / 1.2 + 1j * (t + x - y)) for t in turns]
    maps = np.stack(lobes)
    return (maps / np.sqrt((np.abs(maps) ** 2).sum(0))).astype(np.complex64)


def sampling() -> np.ndarray[Any, Any]:
    """Every fourth column and 24 calibration columns (ky, kx)."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[:, ::4] = 1
    mask[:, SIZE // 2 - 12 : SIZE // 2 + 12] = 1
    return mask


def problem(slices: int) -> tuple[Any, Any, Any, Any]:
    """Maps, mask, images (z, y, x) and k-space (z, coil, ky, kx)."""
    draws = np.random.default_rng(0)

    def noise(*shape: int) -> Any:
        return draws.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]

    return coil_maps(), sampling(), noise(slices, SIZE, SIZE), noise(slices, COILS, SIZE, SIZE)


def smallest(apply: Apply, repeats: int) -> float:
    """Milliseconds of the quickest of some calls, after one to warm up."""
    apply()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        apply()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def own(slices: int) -> tuple[Apply, Apply, Apply]:
    from medldm_mri.sense import Sense

    maps, mask, x, y = (torch.from_numpy(a) for a in problem(slices))
    operator = Sense(maps[None], mask, slices=slices)
    gram = operator.gram
    return lambda: operator.forward(x), lambda: operator.adjoint(y), lambda: gram.forward(x)


def textbook(slices: int) -> tuple[Apply, Apply, Apply]:
    maps, mask, x, y = (torch.from_numpy(a) for a in problem(slices))
    d = (-2, -1)

    def forward() -> Any:
        return torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(maps * x[:, None], d), norm="ortho"), d) * mask

    def adjoint(k: Any) -> Any:
        images = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(k * mask, d), norm="ortho"), d)
        return (images * maps.conj()).sum(1)

    return forward, lambda: adjoint(y), lambda: adjoint(forward())


def sigpy(slices: int) -> tuple[Apply, Apply, Apply]:
    from sigpy.mri.linop import Sense

    maps, mask, x, y = problem(slices)
    operator = Sense(maps, weights=mask**2)
    adjoint = operator.H
    return (
        lambda: np.stack([operator * image for image in x]),
        lambda: np.stack([adjoint * kspace for kspace in y]),
        lambda: np.stack([adjoint * (operator * image) for image in x]),
    )


def mrpro(slices: int) -> tuple[Apply, Apply, Apply]:
    from mrpro.operators import FastFourierOp, SensitivityOp

    maps, mask, x, y = (torch.from_numpy(a) for a in problem(slices))
    operator = FastFourierOp(dim=(-2, -1)) @ SensitivityOp(maps[None, :, None])
    adjoint = operator.H
    x, y = x[:, None, None], y[:, :, None]
    return (
        lambda: operator(x)[0] * mask,
        lambda: adjoint(y * mask)[0],
        lambda: adjoint(operator(x)[0] * mask)[0],
    )


def deepinv(slices: int) -> tuple[Apply, Apply, Apply]:
    from deepinv.physics import MultiCoilMRI

    maps, mask, x, y = (torch.from_numpy(a) for a in problem(slices))
    stacked = maps[None].repeat(slices, 1, 1, 1)
    physics = MultiCoilMRI(mask=mask[None, None], coil_maps=stacked, img_size=(2, SIZE, SIZE))
    x, y = (torch.view_as_real(a).movedim(-1, 1).contiguous() for a in (x, y))
    return lambda: physics.A(x), lambda: physics.A_adjoint(y), lambda: physics.A_adjoint(physics.A(x))


LIBRARIES = {"medldm": own, "textbook torch": textbook, "sigpy": sigpy, "mrpro": mrpro, "deepinv": deepinv}


def kspace_of(result: Any) -> np.ndarray[Any, Any]:
    """The first slice of a library's k-space, (coil, ky, kx)."""
    if isinstance(result, torch.Tensor) and not result.is_complex():
        result = torch.view_as_complex(result.movedim(1, -1).contiguous())
    first = np.asarray(result)[0].reshape(COILS, SIZE, SIZE)
    return first


def measure(library: str, slices: int, repeats: int) -> dict[str, Any]:
    """Times of one library in this process, and where it put its k-space."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")
    if library in ("mrpro", "deepinv"):
        torchvision = torch.library.Library("torchvision", "DEF")
        for name in _TORCHVISION:
            with contextlib.suppress(RuntimeError):
                torchvision.define(f"{name}(Tensor x) -> Tensor")
    with torch.no_grad():
        forward, adjoint, gram = LIBRARIES[library](slices)
        path = Path(tempfile.mkdtemp()) / "kspace.npy"
        np.save(path, kspace_of(forward()))
        times = [smallest(apply, repeats) for apply in (forward, adjoint, gram)]
    return {"times": times, "kspace": str(path)}


def in_turn(library: str, slices: int, repeats: int, python: str) -> dict[str, Any] | str:
    """:func:`measure` in a process of its own; the last line of its error when that fails."""
    command = [python, __file__, "--worker", library, "--slices", str(slices), "--repeats", str(repeats)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)}, check=False
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare_sense(slices: int, rounds: int, repeats: int, peers: str) -> None:
    best: dict[str, list[float]] = {}
    kspace: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for library in LIBRARIES:
            if library in missing:
                continue
            python = sys.executable if library in ("medldm", "textbook torch") else peers
            result = in_turn(library, slices, repeats, python)
            if isinstance(result, str):
                missing[library] = result
                continue
            best[library] = [min(p) for p in zip(result["times"], best.get(library, result["times"]), strict=True)]
            kspace[library] = np.load(result["kspace"])
            shutil.rmtree(Path(result["kspace"]).parent)
    print(f"\nSENSE {SIZE} x {SIZE}, {COILS} coils, {slices} slices: ms (ratio to medldm)")
    print(f"{'':16}{'forward':>18}{'adjoint':>18}{'gram':>18}{'difference':>12}")
    ours = best["medldm"]
    for library, times in best.items():
        cells = "".join(f"{t:10.1f} ({t / o:5.2f})" for t, o in zip(times, ours, strict=True))
        norm = np.linalg.norm
        scale = np.vdot(kspace[library], kspace["medldm"]) / np.vdot(kspace[library], kspace[library])
        print(f"{library:16}{cells}{norm(scale * kspace[library] - kspace['medldm']) / norm(kspace['medldm']):12.1e}")
    for library, reason in missing.items():
        print(f"{library:16}not measured: {reason[:90]}")


def calibration_kspace() -> tuple[Any, Any]:
    """k-space (coil, ky, kx) of a smooth object with noise, and where the object is."""
    place = (np.arange(SIZE) - SIZE / 2) / (SIZE / 2)
    x, y = np.meshgrid(place, place)
    inside = (x / 0.7) ** 2 + (y / 0.85) ** 2 < 1
    image = inside * (1 + 0.3 * np.cos(9 * x) * np.cos(7 * y)) * np.exp(1j * (0.6 * x - 0.4 * y + 0.8 * x * y))
    shifted = np.fft.ifftshift(coil_maps() * image, axes=(-2, -1))
    kspace = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))
    noise = np.random.default_rng(1).standard_normal((*kspace.shape, 2)).view(np.complex128)[..., 0]
    return (kspace + 0.02 * noise).astype(np.complex64), inside


def compare_espirit(rounds: int, lines: int = 24) -> None:
    from medldm_mri.espirit import Espirit

    torch.set_num_threads(THREADS)
    kspace, inside = calibration_kspace()
    centre = slice(SIZE // 2 - lines // 2, SIZE // 2 + lines // 2)
    calibration = torch.from_numpy(kspace)[None, :, centre, centre].contiguous()
    print(f"\nESPIRiT {SIZE} x {SIZE}, {COILS} coils, {lines} calibration lines: ms per slice (ratio to medldm)")
    bart = shutil.which("bart")
    folder = Path(tempfile.mkdtemp())
    values = np.moveaxis(kspace, 0, -1)[:, :, None, :]
    (folder / "k.hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n")
    values.ravel(order="F").tofile(folder / "k.cfl")
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}

    def ecalib() -> None:
        command = ["bart", "ecalib", "-m", "1", "-r", str(lines), "k", "maps"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)

    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(smallest(lambda: Espirit().maps(calibration, (SIZE, SIZE)), 3))
        if bart:
            theirs.append(smallest(ecalib, 2))
    print(f"{'medldm':16}{min(ours):10.1f} ( 1.00)")
    if bart:
        print(f"{'bart ecalib':16}{min(theirs):10.1f} ({min(theirs) / min(ours):5.2f})   program start included")
        maps = np.fromfile(folder / "maps.cfl", np.complex64).reshape((SIZE, SIZE, COILS), order="F")
        mine = Espirit().maps(calibration, (SIZE, SIZE))[0].numpy()
        norms = np.linalg.norm(maps, axis=-1)
        both = inside & (norms > 0) & (np.abs(mine).sum(0) > 0)
        cosine = np.abs((np.moveaxis(mine, 0, -1).conj() * maps).sum(-1))[both] / norms[both]
        print(f"smallest |<ours, BART>| in {both.sum()} of {inside.sum()} object pixels: {cosine.min():.4f}")
    else:
        print("bart is not installed")
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, help="interpreter in which the peers are installed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="calls per round")
    parser.add_argument("--slices", type=int, default=32)
    parser.add_argument("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker, options.slices, options.repeats)))
        return
    print(f"torch {torch.__version__}, {THREADS} threads, load {os.getloadavg()[0]:.1f}")
    compare_sense(1, options.rounds, 4 * options.repeats, options.peers)
    compare_sense(options.slices, options.rounds, options.repeats, options.peers)
    compare_espirit(options.rounds)


if __name__ == "__main__":
    main()
