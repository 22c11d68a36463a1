"""Pictures of a report: a middle slice with letters of orientation and a scale bar, as scalable graphics."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from medldm.pipeline.pictures import Kind, Picture, Pictures
from medldm.pipeline.preview import PLANES

# Perceptually even, or even around a dark zero; shares are mostly small, so their levels are spread.
_COLOURS: dict[Kind, str] = {"image": "gray", "difference": "berlin", "spread": "magma", "share": "viridis"}
_SHARE_GAMMA = 0.5
# Letters at the left, right, top and bottom of a plane.
_LETTERS = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": ("A", "P", "S", "I")}
_DIRECTIONS = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}
_UNITS_MM = {"mm": 1.0, "µm": 1e-3, "nm": 1e-6}
_THUMBNAIL = 88
# A few slices seen from the side are a strip, shown within a frame of at most so many times its shorter side.
_LONGEST_FRAME = 4.0
# Units of a drawing along its longer side, whatever that is in mm: letters and lines of nanometres are not drawn.
_DRAWN = 100.0


@dataclass(frozen=True)
class Size:
    """Of a plane in mm."""

    width: float
    height: float


def size_of(pictures: Pictures, plane: str) -> Size:
    """How large the slice is in the patient."""
    z, y, x = pictures.spacing
    rows, columns = next(iter(pictures.images.values())).planes[plane].shape
    down, right = {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}[plane]
    return Size(columns * right, rows * down)


def figure(picture: Picture, plane: str, size: Size, label: str, *, oriented: bool) -> Markup:
    """One slice as inline SVG with a scale bar.

    Args:
        picture: the image.
        plane: of its slice.
        size: of the plane.
        label: for those who do not see it.
        oriented: whether it is known how the patient lies; without letters where it is not.
    """
    framed = max(size.width, size.height / _LONGEST_FRAME), max(size.height, size.width / _LONGEST_FRAME)
    scale = _DRAWN / max(framed)
    width, height = framed[0] * scale, framed[1] * scale
    across, down = size.width * scale, size.height * scale
    font, margin = 0.055 * _DRAWN, 0.02 * width
    corner = f'x="{(width - across) / 2:.3f}" y="{(height - down) / 2:.3f}"'
    left, right, top, bottom = _LETTERS[plane]
    told = f"{label}. {plane} slice"
    if oriented:
        told += f", {_DIRECTIONS[left]} at the left, {_DIRECTIONS[top]} at the top"
    letters = (
        (margin, height / 2, "start", "middle", left),
        (width - margin, height / 2, "end", "middle", right),
        (width / 2, margin, "middle", "hanging", top),
        (width / 2, height - margin, "middle", "auto", bottom),
    )
    texts = "".join(
        f'<text class="letter" x="{x:.2f}" y="{y:.2f}" font-size="{font:.2f}" text-anchor="{anchor}" '
        f'dominant-baseline="{baseline}">{letter}</text>'
        for x, y, anchor, baseline, letter in letters
        if oriented
    )
    length, words = scale_bar(0.25 * framed[0])
    bar, line = length * scale, height - margin - 0.4 * font
    return Markup(
        f'<svg class="slice" viewBox="0 0 {width:.3f} {height:.3f}" role="img" aria-label="{escape(told)}.">'
        f'<image href="{png(coloured(picture.planes[plane], picture.kind))}" {corner} width="{across:.3f}" '
        f'height="{down:.3f}" preserveAspectRatio="none"/>{texts}'
        f'<path class="bar" d="M{margin:.2f} {line:.2f}h{bar:.2f}" stroke-width="{0.012 * width:.2f}"/>'
        f'<text class="letter" x="{1.6 * margin + bar:.2f}" y="{line:.2f}" font-size="{0.8 * font:.2f}" '
        f'dominant-baseline="central">{words}</text>'
        "</svg>"
    )


def scale_bar(most: float) -> tuple[float, str]:
    """The longest bar of 1, 2 or 5 times a power of ten that is at most ``most`` mm long: in mm, and in words."""
    power = math.floor(math.log10(most))
    first = next(digit for digit in (5, 2, 1) if digit * 10.0**power <= most or digit == 1)
    length = first * 10.0**power
    unit = next((name for name, mm in _UNITS_MM.items() if length >= 0.999 * mm), "nm")
    return length, f"{length / _UNITS_MM[unit]:.3g} {unit}"


def colour_bar(picture: Picture) -> Markup:
    """The colours of a picture between its limits, with the numbers at both ends."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    low, high = (_told(limit) for limit in picture.limits)
    if picture.kind == "difference":
        high = low.removeprefix("-")  # zero is one of 256 levels, so the uppermost is a level short of the span
    unit = f" {picture.unit}" if picture.unit else ""
    return Markup(
        f'<span class="scale"><span>{escape(low)}</span><img src="{png(coloured(ramp, picture.kind))}" '
        f'alt="colours from {escape(low)} to {escape(high)}{escape(unit)}">'
        f"<span>{escape(high)}{escape(unit)}</span></span>"
    )


def _told(limit: float) -> str:
    """Three figures, and no power of ten where whole numbers are as short (-1000 HU)."""
    return f"{limit:.0f}" if 100 <= abs(limit) < 1e5 else f"{limit:.3g}"


def broadest(picture: Picture) -> str:
    """The plane whose middle slice has most pixels, which for few slices is their own; axial where they are equal."""
    return max(PLANES, key=lambda plane: picture.planes[plane].size)


def thumbnail(picture: Picture, plane: str, size: Size, alt: str) -> Markup:
    """The middle slice of a plane, small, for a table."""
    levels = coloured(picture.planes[plane], picture.kind)
    scale = _THUMBNAIL / max(size.width, size.height)
    pixels = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    stream = io.BytesIO()
    Image.fromarray(levels).resize(pixels, Image.Resampling.LANCZOS).save(stream, "JPEG", quality=75)
    data = base64.b64encode(stream.getvalue()).decode()
    return Markup(
        f'<img src="data:image/jpeg;base64,{data}" width="{pixels[0]}" height="{pixels[1]}" alt="{escape(alt)}">'
    )


def coloured(levels: NDArray[np.uint8], kind: Kind) -> NDArray[np.uint8]:
    """(rows, columns) of levels -> the same for grey values, (rows, columns, 3) for colours."""
    if kind == "image":
        return levels
    # Level 128 of a difference is zero, the middle of its colours.
    places = np.arange(256) / 256 if kind == "difference" else np.linspace(0, 1, 256)
    table = np.asarray(colormaps[_COLOURS[kind]](places ** (_SHARE_GAMMA if kind == "share" else 1)))
    return np.asarray(np.rint(table[levels, :3] * 255), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> str:
    """An address that is the picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
