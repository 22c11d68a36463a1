"""MR contrasts: the signal of each tissue from its relaxation times, for the usual sequences at 1.5 T.

T1, T2 and proton density of CSF, grey and white matter, fat, muscle and lesions are those of the BrainWeb simulator
(Kwan, Evans and Pike, IEEE Trans. Med. Imaging 18, 1999); the remaining tissues are set between them by composition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phantoms.fields import Field
from phantoms.tissue_maps import TissueMaps

Contrast = Literal["t1w", "t2w", "flair", "pd"]


@dataclass(frozen=True)
class Tissue:
    """Relaxation of one tissue.

    Attributes:
        t1: longitudinal relaxation time, ms.
        t2: transverse relaxation time, ms.
        density: proton density relative to water.
        grain: relative standard deviation of the signal within the tissue.
        flowing: blood that leaves the slice between excitation and echo.
    """

    t1: float
    t2: float
    density: float
    grain: float
    flowing: bool = False


TISSUES: dict[str, Tissue] = {
    "air": Tissue(1.0, 1.0, 0.0, 0.0),
    "skin": Tissue(900, 47, 0.9, 0.08),
    "fat": Tissue(350, 70, 1.0, 0.06),
    "muscle": Tissue(900, 47, 1.0, 0.10),
    "bone": Tissue(1.0, 1.0, 0.0, 0.0),
    "marrow": Tissue(400, 60, 0.6, 0.15),
    "dura": Tissue(900, 30, 0.6, 0.05),
    "vein": Tissue(1200, 60, 0.45, 0.05),
    "artery": Tissue(1400, 150, 0.8, 0.05, flowing=True),
    "csf": Tissue(2569, 329, 1.0, 0.015),
    "grey": Tissue(833, 83, 0.86, 0.030),
    "white": Tissue(500, 70, 0.77, 0.022),
    "pallidum": Tissue(580, 58, 0.76, 0.025),
    "lesion": Tissue(752, 237, 0.76, 0.03),
}


def spin_echo(tissue: Tissue, repetition: float, echo: float) -> float:
    """Signal of a spin echo with times in ms; blood flowing through the slice gives none."""
    if tissue.flowing:
        return 0.0
    return tissue.density * (1 - math.exp(-repetition / tissue.t1)) * math.exp(-echo / tissue.t2)


def inversion_spin_echo(tissue: Tissue, repetition: float, inversion: float, echo: float) -> float:
    """Signal of an inversion-prepared spin echo with times in ms; flowing blood gives none."""
    if tissue.flowing:
        return 0.0
    recovered = 1 - 2 * math.exp(-inversion / tissue.t1) + math.exp(-repetition / tissue.t1)
    return tissue.density * abs(recovered) * math.exp(-echo / tissue.t2)


def inversion_gradient_echo(tissue: Tissue, repetition: float, inversion: float) -> float:
    """Signal of a magnetisation-prepared gradient echo in the limit of small flip angles, times in ms.

    Inflowing blood has not seen the inversion and is bright.
    """
    if tissue.flowing:
        return tissue.density
    return tissue.density * abs(1 - 2 * math.exp(-inversion / tissue.t1) + math.exp(-repetition / tissue.t1))


def signal(tissue: Tissue, contrast: Contrast) -> float:
    """Signal of a tissue under the named contrast, relative to the whole magnetisation of water.

    FLAIR's inversion time nulls the CSF of the table at its repetition time.
    """
    match contrast:
        case "t1w":
            return inversion_gradient_echo(tissue, 2000, 900)
        case "t2w":
            return spin_echo(tissue, 4500, 95)
        case "flair":
            return inversion_spin_echo(tissue, 9000, 1704, 110)
        case "pd":
            return spin_echo(tissue, 4500, 15)


def contrast(maps: TissueMaps, name: Contrast) -> Field:
    """Noise-free image (z, y, x) of one contrast: signals mixed by the tissue fractions, times texture and coil bias.

    Raises:
        ValueError: the maps hold a tissue that has no relaxation times here.
    """
    unknown = set(maps.names) - set(TISSUES)
    if unknown:
        raise ValueError(f"no relaxation times for {sorted(unknown)}")
    image = np.zeros(maps.fractions.shape[1:], np.float32)
    for tissue_name, fraction in zip(maps.names, maps.fractions, strict=True):
        tissue = TISSUES[tissue_name]
        level = signal(tissue, name)
        if level > 0:
            image += np.float32(level) * fraction * (1 + np.float32(tissue.grain) * maps.grain)
    return np.maximum(image * maps.bias, 0)
