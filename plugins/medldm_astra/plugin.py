"""Registers ASTRA's projectors; they need the package ``astra-toolbox``, which is GPL-3.0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer the physics of line integrals as ASTRA computes them."""
    register(
        "ct-astra",
        "medldm_astra.physics:AstraCt",
        example="medldm_astra.examples:parallel",
        summary="Parallel and flat fan beam CT with the weights of ASTRA's CPU projectors, in a matched pair",
        packages={"astra-toolbox": "pip install 'medldm[astra]'"},
    )
