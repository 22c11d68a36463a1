"""What a component needs of its partners, asked before anything heavy runs.

The words are those of ``register(..., needs=...)``, see ``docs/concepts/plugins.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from medldm.inference.capabilities import HasFilteredAdjoint, HasPreconditioner, HasSubsets
from medldm.inference.prior import DiffusionPrior, is_regressor
from medldm.operators import LinearOperator

_PROTOCOLS: dict[str, type] = {
    "filtered-adjoint": HasFilteredAdjoint,
    "subsets": HasSubsets,
    "preconditioner": HasPreconditioner,
}
_SENTENCES: dict[str, str] = {
    "filtered-adjoint": "It needs an operator with a filtered back-projection, and {operator} has none.",
    "subsets": "It needs an operator whose measurement splits into subsets, and that of {operator} does not.",
    "preconditioner": "It needs an operator with a preconditioner, and {operator} has none.",
    "real": "It works on real images, and {operator} maps complex ones.",
    "complex": "It works on complex measurements, and {operator} maps real images to real ones.",
    "prior": "It needs a diffusion prior, and {kind} is given.",
    "regressor": "It needs a network trained for this measurement, and {kind} is given.",
    "image-prior": "The state of its prior is the image, and {state} is given.",
    "latent-prior": "The state of its prior is a latent, and {state} is given.",
    "decode-gradient": "It differentiates the prior's decoder, and {prior}.",
}
WORDS: tuple[str, ...] = tuple(_SENTENCES)
# A prior is chosen by the recipe, so these words do not decide between a solver and a physics.
OF_THE_PRIOR: frozenset[str] = frozenset({"prior", "regressor", "image-prior", "latent-prior", "decode-gradient"})


@runtime_checkable
class DeclaresDecodeGradient(Protocol):
    """A prior that says whether ``decode`` can be differentiated; one that says nothing can."""

    decode_gradient: bool


def provides(operator: LinearOperator) -> frozenset[str]:
    """The words that an operator answers to."""
    words = {word for word, protocol in _PROTOCOLS.items() if isinstance(operator, protocol)}
    words |= {"complex"} if operator.domain.is_complex or operator.codomain.is_complex else set()
    return frozenset(words if operator.domain.is_complex else words | {"real"})


def refusals(needs: Iterable[str], operator: LinearOperator, prior: DiffusionPrior | None = None) -> list[str]:
    """Why a component with these needs cannot run with these partners, in plain sentences; empty when it can.

    Args:
        needs: words of the component.
        operator: maps the image to the measurement.
        prior: the diffusion prior, None without one.

    Raises:
        ValueError: a word is not known.
    """
    offered = set(provides(operator))
    latent = bool(getattr(prior, "latent", False))
    if prior is not None:
        offered.add("regressor" if is_regressor(prior) else "prior")
        offered.add("latent-prior" if latent else "image-prior")
        if not isinstance(prior, DeclaresDecodeGradient) or prior.decode_gradient:
            offered.add("decode-gradient")
    kind = "none" if prior is None else "a regressor" if is_regressor(prior) else "a diffusion prior"
    state = "none" if prior is None else "one of latents" if latent else "one of images"
    sentences = []
    for word in needs:
        if word not in _SENTENCES:
            raise ValueError(f"unknown capability {word!r}, there are {', '.join(WORDS)}")
        if word not in offered:
            decoder = "none is given" if prior is None else f"that of {type(prior).__name__} has no derivative"
            sentences.append(_SENTENCES[word].format(operator=operator.name, prior=decoder, kind=kind, state=state))
    return sentences
