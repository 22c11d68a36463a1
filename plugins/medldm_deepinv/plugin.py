"""Registers linear physics and denoisers of deepinv (BSD-3), which needs the package ``torchvision`` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register

_INSTALL = "pip install 'medldm[deepinv]'"
_PACKAGES = {"deepinv": _INSTALL, "torchvision": _INSTALL}


@hookimpl
def register_operators(register: Register) -> None:
    """Offer any linear physics of deepinv by its name."""
    register(
        "deepinv",
        "medldm_deepinv.physics:DeepinvPhysics",
        example="medldm_deepinv.examples:blur",
        summary="Any linear physics of deepinv, slice by slice, its adjoint checked before it is used",
        packages=_PACKAGES,
    )


@hookimpl
def register_priors(register: Register) -> None:
    """Offer priors whose denoiser is a network of deepinv."""
    register(
        "deepinv",
        "medldm_deepinv.family:DeepinvDenoisers",
        example="medldm_deepinv.examples:denoiser",
        summary="Denoisers of deepinv as priors of slices, told the noise level that the solver asks for",
        packages=_PACKAGES,
    )
