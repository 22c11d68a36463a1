"""A solver held to its contract while it runs: whatever its loop does wrong is refused under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from medldm.errors import ComponentMissing
from medldm.host import Entry, Host, blamed
from medldm.inference import DiffusionPrior, Likelihood, Noise, Solver, Step

_END = object()


def build_solver(host: Host, name: str, options: Mapping[str, Any], *, where: str) -> Solver:
    """A solver with its options checked.

    Args:
        host: plugins.
        name: of the solver.
        options: plain data.
        where: path of the options in the recipe, for messages.

    Raises:
        ComponentMissing: ``E-PLG-18`` it has no ``solve``.
        MedldmError: see :meth:`medldm.host.Host.build`.
    """
    solver: object = host.build("solvers", name, options, where=where)
    if not isinstance(solver, Solver):
        raise _broken(host.find("solvers", name), "has no method solve")
    return solver


@dataclass(frozen=True, eq=False)
class CheckedSolver:
    """The solver's own loop, refused where it breaks the contract of :class:`medldm.inference.Solver`.

    Attributes:
        solver: that runs.
        entry: its registration, for messages.
    """

    solver: Solver
    entry: Entry

    def solve(
        self,
        likelihood: Likelihood,
        prior: DiffusionPrior | None,
        start: Tensor,
        noise: Noise,
        state: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Step]:
        """The solver's steps.

        Raises:
            ComponentMissing: ``E-PLG-18`` an estimate is none, or the loop ends before its last step or after it.
            MedldmError: ``E-PLG-17`` the solver raised something unexpected.
        """
        with blamed(self.entry):
            steps = iter(self.solver.solve(likelihood, prior, start, noise, state))
        last: Step | None = None
        while (step := self._next(steps)) is not _END:
            if fault := _fault(step, last, start):
                raise _broken(self.entry, fault)
            last = step
            yield step
        if last is None:
            raise _broken(self.entry, "yielded no step")
        if not _is_last(last):
            raise _broken(self.entry, f"ended at index {last.index} of total {last.total}, not at total - 1")

    def _next(self, steps: Iterator[Step]) -> Any:
        with blamed(self.entry):
            return next(steps, _END)


def _is_last(step: Step) -> bool:
    return step.index + 1 == step.total


def _fault(step: object, before: Step | None, start: Tensor) -> str:
    """What is wrong with a step, as the end of a sentence; empty where nothing is."""
    if not isinstance(step, Step):
        return f"yielded a {type(step).__name__}, not a Step"
    if before is not None and _is_last(before):
        return f"yielded index {step.index} of total {step.total} after its last step"
    estimate: object = step.estimate
    fault = ""
    if not isinstance(estimate, Tensor):
        fault = f"a {type(estimate).__name__}, not a tensor"
    elif estimate.shape != start.shape:
        fault = f"of shape {tuple(estimate.shape)}, the start image of {tuple(start.shape)}"
    elif estimate.dtype != start.dtype:
        fault = f"of type {estimate.dtype}, the start image of {start.dtype}"
    elif estimate.requires_grad:
        fault = "tied to automatic differentiation: its solve lacks @torch.no_grad()"
    return fault and f"yielded at index {step.index} of total {step.total} an estimate that is {fault}"


def _broken(entry: Entry, fault: str) -> ComponentMissing:
    return ComponentMissing(
        "E-PLG-18",
        f"{entry.subject} {fault}.",
        why="Its loop does not keep to the contract of solvers, so nothing that it gives can be relied on.",
        fix=f"Tell the author of the plugin {entry.plugin!r}: medldm plugins check {entry.name} holds it to the laws.",
    )
