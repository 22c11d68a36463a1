"""The family builds what cards name, and its priors denoise volumes of any size."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from medldm.data import Grid
from medldm.errors import MedldmError, UsageError
from medldm.inference.prior import DiffusionPrior
from medldm.priors.card import Facts, Intensity, Latent, Prediction, PriorCard, Range, Size
from medldm.priors.family import Networks, PriorFamily
from medldm.priors.folder import write_prior
from medldm_volume_ldm.examples import volume_diffusion
from medldm_volume_ldm.family import VolumeDiffusion

UNET = {"kind": "unet", "widths": [4, 8], "groups": 2, "head_channels": 4, "facts": 3}
KL = {"kind": "kl", "latent_channels": 2, "widths": [4, 8], "groups": 2}
SMALL: dict[str, Any] = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "channels": [2, 4],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "norm_num_groups": 2,
}


def card_of(networks: dict[str, Any], latent: Latent | None = None) -> PriorCard:
    return PriorCard(
        name="small-volume",
        family="volume-diffusion",
        summary="A small one.",
        modality="MR",
        quantity="arbitrary",
        intensity=Intensity("percentile"),
        dimensions=3,
        spacing_mm=Range(1.0, 1.0),
        size=Size(multiple=4 if latent else 2),
        sigma=Range(0.01, 10.0),
        prediction=Prediction("edm", sigma_data=0.5),
        facts=Facts({"contrast": ("t1w", "t2w", "flair")}),
        latent=latent,
        networks=networks,
        weights={},
        licence="Apache-2.0",
    )


def stirred(networks: Networks) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    for network in networks.named().values():
        for weight in network.parameters():
            weight.data.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return {role: network.state_dict() for role, network in networks.named().items()}


def bound(tmp_path: Any, shape: tuple[int, int, int], *, latent: bool, **facts: str) -> DiffusionPrior:
    family = VolumeDiffusion()
    networks = {"denoiser": {**UNET, "channels": 2 if latent else 1}} | ({"autoencoder": KL} if latent else {})
    card = card_of(networks, Latent(scale=0.7, gain=1.0, error=0.1) if latent else None)
    folder = tmp_path / f"{latent}-{'-'.join(map(str, shape))}-{len(facts)}"
    write_prior(folder, card, stirred(_seeded(family, networks)), dtype=torch.float32)
    return family.load(folder).on(Grid.isotropic(shape, (1.0, 1.0, 1.0)), facts=facts)


def _seeded(family: VolumeDiffusion, networks: dict[str, Any]) -> Networks:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return family.build(networks)


def test_the_family_keeps_its_protocol() -> None:
    assert isinstance(VolumeDiffusion(), PriorFamily)


@pytest.mark.parametrize("latent", [False, True])
def test_priors_denoise_volumes_whose_sizes_are_no_multiple(tmp_path, latent: bool) -> None:
    prior = bound(tmp_path, (7, 10, 9), latent=latent)
    image = torch.randn((2, 7, 10, 9), generator=torch.Generator().manual_seed(0))
    state = prior.encode(image)
    sigma = torch.tensor([0.2, 1.5])
    denoised = prior.denoise(state, sigma)
    assert denoised.shape == state.shape
    assert prior.decode(denoised).shape == image.shape
    one_by_one = torch.cat([prior.denoise(state[i : i + 1], sigma[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(denoised, one_by_one, atol=1e-5, rtol=1e-5)


def test_near_no_noise_the_denoiser_is_the_identity(tmp_path) -> None:
    # EDM: D - x = O(sigma), whatever the network.
    prior = bound(tmp_path, (4, 6, 8), latent=False)
    x = torch.randn((1, 4, 6, 8), generator=torch.Generator().manual_seed(0))
    moved = [(prior.denoise(x, torch.tensor([sigma])) - x).abs().max().item() for sigma in (0.01, 0.1)]
    assert moved[0] < 0.2 * moved[1]


def test_facts_reach_the_network(tmp_path) -> None:
    x = torch.randn((1, 4, 6, 8), generator=torch.Generator().manual_seed(0))
    unknown, told = (bound(tmp_path, (4, 6, 8), latent=False, **facts) for facts in ({}, {"contrast": "t2w"}))
    sigma = torch.tensor([1.0])
    assert not torch.allclose(unknown.denoise(x, sigma), told.denoise(x, sigma), atol=1e-4)


def test_gradients_flow_through_denoise_and_decode(tmp_path) -> None:
    prior = bound(tmp_path, (5, 6, 8), latent=True)
    state = prior.encode(torch.zeros(1, 5, 6, 8)).requires_grad_()
    prior.decode(prior.denoise(state, torch.tensor([0.5]))).sum().backward()
    assert state.grad is not None
    assert bool((state.grad != 0).all())


@pytest.mark.parametrize(
    ("networks", "code", "words"),
    [
        ({"discriminator": {}}, "E-VLD-01", "denoiser"),
        ({"denoiser": {"kind": "unte"}}, "E-VLD-01", "monai-unet"),
        ({"denoiser": {"kind": "unet", "width": [8]}}, "E-OPT-01", "widths"),
        ({"denoiser": {"widths": [6, 8], "groups": 4}}, "E-OPT-05", "multiples"),
        ({"autoencoder": {"latent_channels": 0}}, "E-OPT-04", "latent_channels"),
        ({"denoiser": {"kind": "monai-unet", "config": {**SMALL, "chanels": [2]}}}, "E-VLD-02", "'channels'"),
        ({"denoiser": {"kind": "monai-unet", "config": {**SMALL, "channels": [3, 4]}}}, "E-VLD-02", "norm_num_groups"),
        ({"denoiser": {"kind": "monai-unet", "config": {**SMALL, "spatial_dims": 2}}}, "E-VLD-02", "spatial_dims"),
        ({"autoencoder": {"kind": "monai-kl", "config": SMALL, "axes": "RAL"}}, "E-OPT-05", "each axis"),
    ],
)
def test_unknown_and_impossible_options_are_refused_by_name(networks: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        VolumeDiffusion().build(networks)
    assert caught.value.code == code
    assert words in str(caught.value)


def test_tampered_weights_do_not_load(tmp_path) -> None:
    family = VolumeDiffusion()
    networks = {"denoiser": {**UNET, "channels": 1}}
    card = write_prior(tmp_path / "prior", card_of(networks), stirred(family.build(networks)))
    file = tmp_path / "prior" / card.weights["denoiser"].file
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(MedldmError, match="E-PRI-10"):
        family.load(tmp_path / "prior")


def test_a_card_with_an_autoencoder_only_builds_one() -> None:
    built = VolumeDiffusion().build({"autoencoder": KL})
    assert built.denoiser is None
    assert built.named().keys() == {"autoencoder"}
    assert replace(VolumeDiffusion()) == VolumeDiffusion()


@pytest.mark.parametrize("module", ["medldm_volume_ldm.plugin", "medldm_volume_ldm"])
def test_the_plugin_imports_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print({{'torch', 'monai', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_family_loads_monai_only_when_it_builds() -> None:
    script = "import sys, medldm_volume_ldm.family; print('monai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_example_makes_priors_and_a_bundle_that_load(tmp_path) -> None:
    example = volume_diffusion()
    example.family.convert(example.foreign(tmp_path), tmp_path / "converted")
    for folder in (example.make(tmp_path), *(make(tmp_path) for make in example.more), tmp_path / "converted"):
        prior = example.family.load(folder).on(Grid.isotropic((9, 10, 11), (1.0, 1.0, 1.0)))
        state = prior.encode(torch.zeros(1, 9, 10, 11))
        assert prior.denoise(state, torch.tensor([0.5])).shape == state.shape
