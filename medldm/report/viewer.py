"""What the viewer of a page carries, packed: volumes and code; nothing of it runs before its button is pressed."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass
from functools import cache

import nibabel as nib
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from medldm.pipeline.pictures import Picture, Pictures
from medldm.report.templating import FOLDER

_LABELS = {
    "reconstruction": "Reconstruction",
    "baseline": "Start image",
    "truth": "Truth",
    "spread": "Spread of the samples",
    "prior-share": "Share of the prior",
    "change": "Reconstruction − start image",
    "error": "Reconstruction − truth",
}


@dataclass(frozen=True)
class Code:
    """NiiVue and the few lines that start it.

    Attributes:
        text: as the browser runs it; its hash stands in the policy of the page.
        packed: compressed, in letters.
    """

    text: str
    packed: str


@cache
def viewer_code() -> Code:
    """NiiVue 0.69.0 (BSD-2-Clause, see ``niivue/LICENSE.txt``) as it was published."""
    text = (FOLDER / "niivue" / "niivue.umd.js").read_text(encoding="utf-8")
    return Code(text, _letters(text.encode()))


def embedded(pictures: Pictures) -> Markup:
    """The reduced volumes as JSON, safe between the tags of a script that is none."""
    return json_island(
        {
            "reduced": pictures.reduced,
            "oriented": pictures.oriented,
            "volumes": [
                {**shown_as(name, one), "data": _letters(nifti(one.volume, pictures.affine, one))}
                for name, one in ordered(pictures)
            ],
        }
    )


def ordered(pictures: Pictures) -> list[tuple[str, Picture]]:
    """Images in the order of the viewer's lists."""
    return [(name, pictures.images[name]) for name in _LABELS if name in pictures.images]


def shown_as(name: str, one: Picture) -> dict[str, object]:
    """How the viewer shows an image."""
    return {"name": name, "label": _LABELS[name], "kind": one.kind, "limits": one.limits, "unit": one.unit}


def nifti(levels: NDArray[np.uint8], affine: NDArray[np.float64], one: Picture) -> bytes:
    """A volume of levels (z, y, x) as an uncompressed NIfTI file that knows its values."""
    low, high = one.limits
    image = nib.Nifti1Image(np.ascontiguousarray(levels.transpose(2, 1, 0)), affine)
    image.header.set_slope_inter((high - low) / 255.0, low)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def json_island(value: object) -> Markup:
    """JSON that cannot end the element that it stands in."""
    text = json.dumps(value)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _letters(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
