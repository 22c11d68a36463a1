"""Registers cone-beam CT with the projectors of RTK (Apache-2.0), which need the package ``itk-rtk``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer the physics of cone beams as RTK computes it."""
    register(
        "ct-rtk",
        "medldm_rtk.physics:RtkConeBeam",
        example="medldm_rtk.examples:cone",
        summary="Cone-beam CT with a flat detector by RTK's Joseph projectors on the CPU, a matched pair; FDK start",
        packages={"itk-rtk": "pip install 'medldm[rtk]'"},
    )
