"""Which coil maps a reconstruction uses, and where they come from."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from medldm_mri import espirit, jsense, walsh
from medldm_mri.espirit import Espirit
from medldm_mri.walsh import Walsh

# walsh: from the calibration lines, the cheapest; espirit: from the same, the better; jsense: goes on from espirit with
# all that was measured; simulated: those that made the measurement, which no scanner can tell.
MapsOption = Literal["walsh", "espirit", "jsense", "simulated"]

_PAPERS: dict[MapsOption, tuple[str, ...]] = {
    "walsh": (walsh.PAPER,),
    "espirit": (espirit.PAPER,),
    "jsense": (espirit.PAPER, jsense.PAPER),
    "simulated": (),
}


def papers_of(option: MapsOption) -> tuple[str, ...]:
    """What to cite for a way to coil maps."""
    return _PAPERS[option]


def maps_from_calibration(option: MapsOption, calibration: Tensor, shape: tuple[int, int]) -> Tensor:
    """Coil maps (z, coil, y, x) from the fully sampled centre of k-space (z, coil, ky, kx).

    Args:
        option: ``walsh``; any other begins with ESPIRiT.
        calibration: frequency zero at index ``n // 2``.
        shape: of the image (y, x).
    """
    return Walsh().maps(calibration, shape) if option == "walsh" else Espirit().maps(calibration, shape)
