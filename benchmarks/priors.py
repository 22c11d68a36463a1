"""What the priors are worth, on public volumes that none of them was trained on.

    python benchmarks/priors.py denoise --data ../shared/data        against total variation and BM3D
    python benchmarks/priors.py loss --data ../shared/data           denoising loss per noise level, train and public
    python benchmarks/priors.py bound --data ../shared/data          autoencoders: what comes back
    python benchmarks/priors.py samples --data ../shared/data        samples, real slices, nearest training slices
    python benchmarks/priors.py speed                                one denoising of 256 x 256 x 128

``--prior NAME=FOLDER`` measures a folder in the place of a shipped prior. Total variation (scikit-image) has its weight
tuned on training scans, per modality and noise level; BM3D (Dabov et al. 2007) is given the true noise level. Both are
timed beside ours where they are installed, and are no dependencies. Tables are Markdown on standard output.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from priors_pictures import memorisation, unconditional_samples, write_denoising, write_memorisation
from priors_scans import PUBLIC, TRAINED, Scan, psnr, read_scans
from torch import Tensor

from medldm.data import Grid
from medldm.host import Host, load_host
from medldm.inference import Noise
from medldm.priors.catalogue import open_prior
from medldm.priors.model import PriorModel

SIGMAS = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
TV_WEIGHTS = (0.3, 0.6, 0.9, 1.3, 1.8, 2.5)
PIXEL = {"MR": "brain-mr-2d-pixel", "CT": "body-ct-2d-pixel"}
LATENT = {"MR": "brain-mr-2d-latent", "CT": "body-ct-2d-latent"}
Denoise = Callable[[Tensor, float], Tensor]


def model_of(host: Host, name: str, given: dict[str, str]) -> PriorModel:
    """The prior of a name, or of the folder given for it."""
    return open_prior(given.get(name, name), host)


def prior_denoiser(model: PriorModel, scan: Scan) -> Denoise:
    """The prior on the grid of a scan, told its contrast."""
    told = {"contrast": scan.contrast} if scan.contrast in model.card.facts.classes.get("contrast", ()) else {}
    bound = model.on(scan.grid, facts=told, slices_at_once=4)

    @torch.no_grad()
    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        state: Tensor = bound.denoise(noisy[None], torch.tensor([sigma]))
        return state[0]

    return denoise


def tv_denoiser(weight: float) -> Denoise:
    """Total variation slice by slice (Chambolle 2004), weight in units of the noise level."""
    from skimage.restoration import denoise_tv_chambolle

    def denoise(noisy: Tensor, sigma: float) -> Tensor:
        slices = [denoise_tv_chambolle(s.numpy(), weight * sigma, eps=1e-4, max_num_iter=300) for s in noisy]
        return torch.from_numpy(np.stack(slices)).float()

    return denoise


def bm3d_denoiser(noisy: Tensor, sigma: float) -> Tensor:
    """BM3D slice by slice, with the true noise level."""
    import bm3d

    return torch.from_numpy(np.stack([bm3d.bm3d(s.numpy(), sigma) for s in noisy])).float()


def noisy_of(scan: Scan, sigma: float) -> Tensor:
    """The slices with white noise that depends on the scan and the level alone."""
    noise = Noise(7, scan.name).normal(tuple(scan.slices.shape), torch.float32, f"benchmark {sigma}")
    return scan.slices + sigma * noise


def tuned_weights(trained: Sequence[Scan]) -> dict[tuple[str, float], float]:
    """The weight of total variation that training scans of a modality prefer in the mean, per noise level."""
    best = {}
    for modality in ("MR", "CT"):
        scans = [scan for scan in trained if scan.modality == modality]
        for sigma in SIGMAS:
            means = [
                np.mean([psnr(tv_denoiser(w)(noisy_of(s, sigma), sigma), s.slices, modality) for s in scans])
                for w in TV_WEIGHTS
            ]
            best[modality, sigma] = TV_WEIGHTS[int(np.argmax(means))]
    return best


def denoise(host: Host, arguments: argparse.Namespace) -> None:
    """PSNR of every public volume at every noise level."""
    scans = read_scans(host, arguments.data, PUBLIC, "public", arguments.slices)
    weights = tuned_weights(read_scans(host, arguments.data, TRAINED, "train", 2))
    models = {modality: model_of(host, name, arguments.prior) for modality, name in PIXEL.items()}
    print("| volume | sigma | noisy | TV | BM3D | prior | prior - best |\n| --- |" + " ---: |" * 6)
    shown, losses = [], 0
    for scan in scans:
        ours = prior_denoiser(models[scan.modality], scan)
        for sigma in SIGMAS:
            noisy = noisy_of(scan, sigma)
            results = {"noisy": noisy, "TV": tv_denoiser(weights[scan.modality, sigma])(noisy, sigma)}
            if not arguments.no_bm3d:
                results["BM3D"] = bm3d_denoiser(noisy, sigma)
            results["prior"] = ours(noisy, sigma)
            figures = {name: psnr(image, scan.slices, scan.modality) for name, image in results.items()}
            rival = max(figures["TV"], figures.get("BM3D", -np.inf))
            losses += sigma >= 0.1 and figures["prior"] <= rival
            cells = [figures.get(name, float("nan")) for name in ("noisy", "TV", "BM3D", "prior")]
            numbers = " | ".join("-" if np.isnan(c) else f"{c:.2f}" for c in cells)
            print(f"| {scan.name} | {sigma:g} | {numbers} | {figures['prior'] - rival:+.2f} |", flush=True)
            if sigma == 0.2:
                shown.append((scan.name, scan.slices, results))
    print(f"\n{losses} rows at 0.1 and above in which the prior does not win.")
    if arguments.pictures:
        write_denoising(arguments.pictures / "priors-denoising.png", shown)


def loss(host: Host, arguments: argparse.Namespace) -> None:
    """The denoising loss, EDM-weighted, on slices of training scans and of public ones: a gap is memorisation."""
    models = {modality: model_of(host, name, arguments.prior) for modality, name in PIXEL.items()}
    print("| modality | sigma | trained | public | public, same kind |\n| --- | ---: | ---: | ---: | ---: |")
    kin = {"t1w-stripped-61", "t1w-stripped-62", "t1w-head-12", "chest-256"}
    sides = {
        "trained": read_scans(host, arguments.data, TRAINED, "train", arguments.slices),
        "public": read_scans(host, arguments.data, PUBLIC, "public", arguments.slices),
    }
    sides["kin"] = [scan for scan in sides["public"] if scan.name in kin]
    for modality, model in models.items():
        spread = model.card.prediction.sigma_data
        for sigma in SIGMAS:
            weight = (sigma**2 + spread**2) / (sigma * spread) ** 2
            means = []
            for scans in sides.values():
                errors = []
                for scan in [one for one in scans if one.modality == modality]:
                    clean = prior_denoiser(model, scan)(noisy_of(scan, sigma), sigma)
                    errors.append(float((clean - scan.slices).double().square().mean()))
                means.append(weight * float(np.mean(errors)))
            print(f"| {modality} | {sigma:g} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |", flush=True)


def bound(host: Host, arguments: argparse.Namespace) -> None:
    """PSNR and structural similarity of what autoencoders give back."""
    from skimage.metrics import structural_similarity

    models = {modality: model_of(host, name, arguments.prior) for modality, name in LATENT.items()}
    print("| volume | PSNR | SSIM |\n| --- | ---: | ---: |")
    for scan in read_scans(host, arguments.data, PUBLIC, "public", arguments.slices):
        latent = models[scan.modality].on(scan.grid, slices_at_once=4)
        with torch.no_grad():
            back = latent.decode(latent.encode(scan.slices[None]))[0]
        peak = 1.0 if scan.modality == "CT" else float(scan.slices.max())
        pairs = zip(back.numpy(), scan.slices.numpy(), strict=True)
        similar = np.mean([structural_similarity(a, b, data_range=peak) for a, b in pairs])
        print(f"| {scan.name} | {psnr(back, scan.slices, scan.modality):.2f} | {similar:.4f} |", flush=True)


def samples(host: Host, arguments: argparse.Namespace) -> None:
    """Unconditional samples, their nearest training slices, and how near held-out slices are to theirs."""
    for modality, name in (PIXEL if arguments.kind == "pixel" else LATENT).items():
        model = model_of(host, name, arguments.prior)
        real = read_scans(host, arguments.data, {modality: TRAINED[modality]}, "train", 24)
        public = read_scans(host, arguments.data, {modality: PUBLIC[modality]}, "public", 5)
        drawn = unconditional_samples(model, count=8, size=arguments.size)
        report = memorisation(drawn, [scan.slices for scan in real], [scan.slices[1:4] for scan in public])
        print(
            f"{name}: distance of samples to the nearest training slice {report.samples:.3f}, of public slices "
            f"{report.public:.3f}, of training slices to the nearest of another subject {report.trained:.3f}"
        )
        if arguments.pictures:
            write_memorisation(arguments.pictures / f"priors-samples-{name}.png", drawn, report, public)


def speed(host: Host, arguments: argparse.Namespace) -> None:
    """Seconds and memory of one denoising of a volume of 256 x 256 x 128."""
    from medldm.inference.live_memory import live_bytes

    grid = Grid.isotropic((128, 256, 256))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print("| prior | device | s a volume | slices/s | peak MiB |\n| --- | --- | ---: | ---: | ---: |")
    for name in arguments.only or [*PIXEL.values(), *LATENT.values(), "brain-mr-3d-latent"]:
        prior = model_of(host, name, arguments.prior).to(device).on(grid)
        state = torch.randn(1, *prior.space.shape, device=device)
        work = functools.partial(prior.denoise, state, torch.full((1,), 0.5, device=device))
        with torch.no_grad():
            peak = live_bytes(work) / 2**20
            best = min(_seconds(work, device) for _ in range(arguments.repeats))
        where = f"{torch.get_num_threads()} CPU threads" if device.type == "cpu" else torch.cuda.get_device_name()
        print(f"| {name} | {where} | {best:.2f} | {128 / best:.1f} | {peak:.0f} |", flush=True)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _synchronise(device)
    began = time.perf_counter()
    work()
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = {"denoise": denoise, "loss": loss, "bound": bound, "samples": samples, "speed": speed}
    parser.add_argument("work", choices=works)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--slices", type=int, default=6, help="per volume")
    parser.add_argument("--prior", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--pictures", type=Path, help="folder for PNG files")
    parser.add_argument("--no-bm3d", action="store_true")
    parser.add_argument("--kind", choices=("pixel", "latent"), default="pixel", help="of samples")
    parser.add_argument("--size", type=int, default=160, help="of samples")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", action="append", help="speed: this prior")
    arguments = parser.parse_args()
    arguments.prior = dict(pair.split("=", 1) for pair in arguments.prior)
    works[arguments.work](load_host(), arguments)


if __name__ == "__main__":
    main()
