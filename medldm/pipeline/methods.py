"""Which methods took part in a run, and what to cite for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from medldm.host import Host
from medldm.host.registry import Kind
from medldm.inference.capabilities import HasReferences
from medldm.operators import PhaseConstrained
from medldm.pipeline.maps import INTERVAL, LOWER, PRIOR_SHARE, Map
from medldm.pipeline.posing import Posed
from medldm.pipeline.recipe import Recipe

# What medldm itself does beside a reconstruction with a prior.
_SHARE = (
    "J. Schwab, S. Antholzer, M. Haltmeier. Deep null space learning for inverse problems: convergence analysis and "
    "rates. Inverse Problems 35, 025008, 2019."
)
_MODEL_ERROR = (
    "JCGM 100:2008. Evaluation of measurement data: Guide to the expression of uncertainty in measurement. Joint "
    "Committee for Guides in Metrology, 2008."
)
_TRIAL = (
    "M. Stone. Cross-validatory choice and assessment of statistical predictions. Journal of the Royal Statistical "
    "Society B 36(2), 111-147, 1974."
)
_LATENT = (
    "R. Rombach, A. Blattmann, D. Lorenz, P. Esser, B. Ommer. High-resolution image synthesis with latent diffusion "
    "models. CVPR 2022. arXiv:2112.10752."
)
_MIRRORED = (
    "M. Terris, T. Moreau, N. Pustelnik, J. Tachella. Equivariant plug-and-play image reconstruction. CVPR 2024. "
    "arXiv:2312.01831."
)
_PLANES = (
    "S. Lee, H. Chung, M. Park, J. Park, W.-S. Ryu, J. C. Ye. Improving 3D imaging with pre-trained perpendicular 2D "
    "diffusion models. ICCV 2023. arXiv:2303.08440."
)
_PREDICTIONS = {
    "epsilon": "J. Ho, A. Jain, P. Abbeel. Denoising diffusion probabilistic models. NeurIPS 2020. arXiv:2006.11239.",
    "v": "T. Salimans, J. Ho. Progressive distillation for fast sampling of diffusion models. ICLR 2022. "
    "arXiv:2202.00512.",
    "flow": "Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel, M. Le. Flow matching for generative modeling. ICLR "
    "2023. arXiv:2210.02747.",
    "edm": "T. Karras, M. Aittala, T. Aila, S. Laine. Elucidating the design space of diffusion-based generative "
    "models. NeurIPS 2022. arXiv:2206.00364.",
}


def methods_of(
    host: Host, recipe: Recipe, posed: Posed, maps: Mapping[str, Map], *, compared: Collection[str], tried: bool
) -> list[dict[str, Any]]:
    """What took part in a run, in the order of its work, as plain JSON: role, name, one line, references.

    Args:
        host: for the one-line summaries.
        recipe: names the components.
        posed: their instances.
        maps: that were made.
        compared: names of the metrics that gave a value.
        tried: whether the prior was on trial against the classical solver.
    """

    def one(role: str, kind: Kind, name: str, component: object) -> dict[str, Any]:
        return _method(role, name, host.find(kind, name).summary, component)

    likelihood = type(posed.likelihood)
    found = [
        one("physics", "operators", recipe.physics, posed.physics),
        _method("likelihood", likelihood.__name__, (likelihood.__doc__ or "").partition("\n")[0], posed.likelihood),
    ]
    if recipe.start:
        name = str(recipe.start["solver"])
        found.append(one("start", "solvers", name, host.find("solvers", name).load()))
        found[-1]["references"] += _of_images(recipe.start)
    found.append(one("solver", "solvers", str(recipe.solver["name"]), posed.solver))
    if posed.prior is not None:
        card = posed.prior.chosen.card
        prior = _method("prior", card.name, card.summary, host.find("priors", card.family).load())
        prior["references"] += [_LATENT] if card.latent else []
        prior["references"] += [_PREDICTIONS[card.prediction.kind]] if card.prediction.kind in _PREDICTIONS else []
        prior["references"] += [_MIRRORED] if posed.prior.mirrors else []
        prior["references"] += [_PLANES] if len(posed.prior.stacks) > 1 else []
        found.append(prior)
    if tried:
        name = str(recipe.classical["name"])
        found.append(one("competitor", "solvers", name, host.find("solvers", name).load()))
        found[-1]["references"] += _of_images(recipe.classical)
        found.append({"role": "trial", "name": "withheld samples", "summary": "", "references": [_TRIAL]})
    if LOWER in maps:
        meaning = maps[LOWER].meaning.removeprefix(f"{LOWER} end of the ")
        cited = [_MODEL_ERROR] if recipe.model_error else []
        found.append({"role": "interval", "name": INTERVAL, "summary": meaning, "references": cited})
    if PRIOR_SHARE in maps:
        meaning = maps[PRIOR_SHARE].meaning
        found.append({"role": "map", "name": PRIOR_SHARE, "summary": meaning, "references": [_SHARE]})
    found += [one("metric", "metrics", name, host.find("metrics", name).load()) for name in compared]
    return found


def _of_images(section: Mapping[str, Any]) -> list[str]:
    return list(PhaseConstrained.references) if section.get("image") == "real" else []


def _method(role: str, name: str, summary: str, component: object) -> dict[str, Any]:
    told = component.references if isinstance(component, HasReferences) else ()
    # The class of a component whose references depend on its options has a property in their place.
    listed = [] if isinstance(told, property) else [str(reference) for reference in told]
    return {"role": role, "name": name, "summary": summary, "references": listed}
