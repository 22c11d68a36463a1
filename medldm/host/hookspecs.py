"""The hooks of medldm. They carry registrations only; numbers never cross them.

A plugin is a module named by an entry point of the group ``medldm``. It marks functions of these names with
``medldm.hookimpl`` and calls ``register`` for each component::

    @medldm.hookimpl
    def register_solvers(register):
        register("tv", "medldm_solvers.tv:TotalVariation", example="medldm_solvers.examples:tv",
                 summary="Total variation by preconditioned Chambolle-Pock (Pock and Chambolle 2011)")

The plugin module itself imports nothing heavy: targets are strings resolved on use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    import typer

hookspec = pluggy.HookspecMarker("medldm")


class Register(Protocol):
    """What a plugin calls for each component it offers."""

    def __call__(
        self,
        name: str,
        target: str,
        *,
        example: str,
        summary: str,
        needs: str | tuple[str, ...] = (),
        packages: Mapping[str, str] | None = None,
    ) -> None:
        """Register one component.

        Args:
            name: kebab case, e.g. ``"ct-fan"``; unique over all plugins within its kind.
            target: ``"package.module:Class"``, resolved on use; a dataclass whose fields are the options.
            example: ``"package.examples:function"``, returns what the conformance kit tests.
            summary: one sentence for ``medldm plugins list``.
            needs: capabilities that partners must have, as words of ``docs/concepts/plugins.md``.
            packages: distributions that the component cannot do without and medldm does not bring -> the command that
                installs them. Where one is missing, the plugin is listed as absent with that command.
        """


@hookspec
def register_operators(register: Register) -> None:
    """Offer physics: ``simulate, operator, likelihood, start``. Called once at start-up."""


@hookspec
def register_priors(register: Register) -> None:
    """Offer families of priors: ``load(folder), build(config), convert(source, folder)``."""


@hookspec
def register_solvers(register: Register) -> None:
    """Offer solvers: ``solve(likelihood, prior, start, noise, state)``."""


@hookspec
def register_readers(register: Register) -> None:
    """Offer readers of scans: ``accepts, inspect, read``."""


@hookspec
def register_writers(register: Register) -> None:
    """Offer writers of volumes: ``write(volume, folder, stem, provenance)``."""


@hookspec
def register_metrics(register: Register) -> None:
    """Offer metrics: ``__call__(estimate, truth) -> {name: number}``."""


@hookspec
def add_commands(app: typer.Typer) -> None:
    """Add commands to the command line."""


@hookspec
def case_finished(case: str, record: dict[str, Any]) -> None:
    """Look at the finished record of a case (``run.json``); what is raised here is logged, never fatal."""
