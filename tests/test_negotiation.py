from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from medldm.host.needs import NEEDS
from medldm.inference.negotiation import WORDS, provides, refusals
from medldm.operators import Identity, LinearOperator, Space

REAL = Space(("z", "y", "x"), (2, 3, 4))
COMPLEX = Space(("z", "y", "x"), (2, 3, 4), torch.complex64)


class Capable(Identity):
    def filtered_adjoint(self, window: str = "hann") -> LinearOperator:
        return self

    def subsets(self, n: int) -> Sequence[tuple[LinearOperator, Tensor]]:
        return [(self, torch.arange(3))] * n

    def preconditioner(self, data_weights: Tensor) -> Callable[[float], LinearOperator]:
        return lambda weight: self


class Prior:
    space = REAL
    sigma_min = 0.01
    sigma_max = 80.0

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor) -> Tensor:
        return z


class Regressor(Prior):
    sigma_min = sigma_max = 0.0


class Quantised(Prior):
    decode_gradient = False


def test_the_words_are_those_of_the_host() -> None:
    assert set(WORDS) == set(NEEDS)


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (Identity(REAL), {"real"}),
        (Identity(COMPLEX), {"complex"}),
        (Capable(REAL), {"real", "filtered-adjoint", "subsets", "preconditioner"}),
        (2.0 * Capable(REAL), {"real"}),
    ],
)
def test_provides(operator: LinearOperator, words: set[str]) -> None:
    assert provides(operator) == words


def test_every_unmet_need_is_one_sentence_with_the_operators_name() -> None:
    needs = ("filtered-adjoint", "subsets", "preconditioner", "complex")
    sentences = refusals(needs, Identity(REAL))
    assert len(sentences) == len(needs)
    assert all("Identity" in sentence and sentence.endswith(".") for sentence in sentences)
    assert refusals(needs[:3], Capable(REAL)) == []
    assert "complex" in refusals(["real"], Identity(COMPLEX))[0]


@pytest.mark.parametrize(("prior", "missing"), [(None, 2), (Prior(), 0), (Quantised(), 1)])
def test_priors(prior: Prior | None, missing: int) -> None:
    assert len(refusals(["prior", "decode-gradient"], Identity(REAL), prior)) == missing


def test_a_regressor_is_no_prior_and_a_prior_is_no_regressor() -> None:
    assert refusals(["regressor"], Identity(REAL), Regressor()) == refusals(["prior"], Identity(REAL), Prior()) == []
    assert "a regressor is given" in refusals(["prior"], Identity(REAL), Regressor())[0]
    assert "a diffusion prior is given" in refusals(["regressor"], Identity(REAL), Prior())[0]
    assert "none is given" in refusals(["regressor"], Identity(REAL))[0]


def test_the_state_of_a_prior_is_an_image_or_a_latent() -> None:
    latent = Prior()
    latent.latent = True  # type: ignore[attr-defined]
    assert (
        refusals(["image-prior"], Identity(REAL), Prior()) == refusals(["latent-prior"], Identity(REAL), latent) == []
    )
    assert "one of latents is given" in refusals(["image-prior"], Identity(REAL), latent)[0]
    assert "one of images is given" in refusals(["latent-prior"], Identity(REAL), Prior())[0]
    assert "none is given" in refusals(["latent-prior"], Identity(REAL))[0]


def test_an_unknown_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="filtered_adjoint"):
        refusals(["filtered_adjoint"], Identity(REAL))
