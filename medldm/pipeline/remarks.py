"""What there is to say of a scan and of the choices made for it, before anything runs; a plan says it too."""

from __future__ import annotations

from collections.abc import Iterator

from medldm.data import Acquisition, Volume
from medldm.host import Host
from medldm.pipeline.chosen_prior import ChosenPrior, unused_prior
from medldm.pipeline.coherence import choose_coherence
from medldm.pipeline.recipe import Recipe


def remarks_on_scan(case: Volume | Acquisition, *, simulate: bool) -> Iterator[tuple[str, str]]:
    """Stage (``warning`` or ``read``) and sentence of what the reader noticed, and of a simulation that cannot be."""
    for remark in case.history.problems:
        stage = "warning" if remark.severity == "warning" else "read"
        yield stage, " ".join(filter(None, (remark.sentence, remark.remedy, f"({remark.code})")))
    if isinstance(case, Acquisition) and simulate:
        yield "warning", "this is a measurement already: --simulate has nothing to do, and nothing is simulated"


def doubts_about_choices(host: Host, recipe: Recipe, prior: ChosenPrior | None) -> Iterator[str]:
    """Warnings: a prior that nothing uses, couplings left out, what makes the prior doubtful for the scan."""
    if unused := unused_prior(host, recipe):
        yield unused
    yield from choose_coherence(host, recipe).left_out
    yield from prior.doubts if prior else ()
