"""Registers computed tomography with parallel, fan and cone beams, and helices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_operators(register: Register) -> None:
    """Offer the physics of line integrals."""
    register(
        "ct-parallel",
        "medldm_ct.physics:ParallelBeamCt",
        example="medldm_ct.examples:parallel",
        summary="Parallel beam CT of a stack of slices, distance-driven, with an exact adjoint and FBP.",
    )
    register(
        "ct-fan",
        "medldm_ct.physics:FanBeamCt",
        example="medldm_ct.examples:fan",
        summary="Fan beam CT with a flat or curved detector, short scan and displaced detector.",
    )
    register(
        "ct-cone",
        "medldm_ct.cone.physics:ConeBeamCt",
        example="medldm_ct.examples:cone",
        summary="Cone-beam CT on a circle or any trajectory, flat or curved detector, with an exact adjoint and FDK.",
    )
    register(
        "ct-helical",
        "medldm_ct.cone.physics:HelicalCt",
        example="medldm_ct.examples:helix",
        summary="Helical CT with a curved or flat detector, an exact adjoint and a filtered start image.",
    )
