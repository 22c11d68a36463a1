"""Line charts as scalable graphics whose colours follow the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

_WIDTH, _HEIGHT = 520.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 26.0, 38.0
_STEPS = [1, 2, 2.5, 5, 10]
Values = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: in the legend.
        values: None where there is none.
        colour: number of a colour of the page, 1 to 4.
    """

    label: str
    values: Values
    colour: int = 1


def chart(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    x: Sequence[float] | None = None,
    logarithmic: bool = False,
    level: tuple[float, str] | None = None,
) -> Markup:
    """Curves over a common axis.

    Args:
        lines: of one length.
        x_label: under the horizontal axis.
        y_label: above the vertical one.
        x: positions; 1, 2, 3, ... when None.
        logarithmic: decades along the vertical axis; values that are not positive are left out.
        level: a value to compare with, drawn as a dashed line, and what it is.
    """
    positions = [float(k + 1) for k in range(len(lines[0].values))] if x is None else [float(one) for one in x]
    shown = [[_number(value, logarithmic) for value in line.values] for line in lines]
    everything = [value for line in shown for value in line if value is not None]
    if level is not None:
        everything.append(math.log10(level[0]) if logarithmic else level[0])
    if not everything:
        return Markup('<p class="quiet">There are no values to draw.</p>')
    ticks, low, high = _ticks(min(everything), max(everything), logarithmic)
    first, last = positions[0], positions[-1]

    def across(value: float) -> float:
        share = (value - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for value, text in ticks:
        y = up(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>')
    for value in MaxNLocator(6, integer=True, steps=_STEPS).tick_values(first, last):
        if first <= value <= last:
            parts.append(
                f'<text class="tick" x="{across(value):.1f}" y="{_HEIGHT - _BOTTOM + 15}" '
                f'text-anchor="middle">{value:g}</text>'
            )
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>'
    )
    parts.append(f'<text class="axis" x="4" y="12">{escape(y_label)}</text>')
    if level is not None:
        y = up(math.log10(level[0]) if logarithmic else level[0])
        parts.append(f'<path class="level" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{y - 4:.1f}" text-anchor="end">{escape(level[1])}</text>'
        )
    for line, values in zip(lines, shown, strict=True):
        parts.append(
            _path(line, [(across(p), None if v is None else up(v)) for p, v in zip(positions, values, strict=True)])
        )
    if len(lines) > 1:
        parts.append(_legend(lines))
    told = f"{y_label} over {x_label}: " + "; ".join(f"{line.label} {_range(line.values)}" for line in lines)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(told)}">'
        + "".join(parts)
        + "</svg>"
    )


def _number(value: float | None, logarithmic: bool) -> float | None:
    if value is None or not math.isfinite(value) or (logarithmic and value <= 0):
        return None
    return math.log10(value) if logarithmic else float(value)


def _ticks(low: float, high: float, logarithmic: bool) -> tuple[list[tuple[float, str]], float, float]:
    """Places and texts of the ticks, and the limits of the axis."""
    if logarithmic:
        low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        step = max(1, round((high - low) / 5))
        return [(float(k), f"{10.0**k:g}") for k in range(int(low), int(high) + 1, step)], low, high
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    places = [float(place) for place in MaxNLocator(5, steps=_STEPS).tick_values(low, high)]
    return [(place, f"{place:.6g}") for place in places], places[0], places[-1]


def _path(line: Line, points: Sequence[tuple[float, float | None]]) -> str:
    """Pieces between the gaps; a point between two gaps is a dot."""
    pieces: list[list[str]] = [[]]
    for x, y in points:
        if y is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x:.1f} {y:.1f}")
    drawn = "".join("M" + "L".join(piece) for piece in pieces if len(piece) > 1)
    dots = "".join(
        f'<circle class="dot c{line.colour}" cx="{piece[0].split()[0]}" cy="{piece[0].split()[1]}" r="2.2"/>'
        for piece in pieces
        if len(piece) == 1
    )
    return f'<path class="line c{line.colour}" d="{drawn}"/>{dots}' if drawn else dots


def _legend(lines: Sequence[Line]) -> str:
    """To the right of the top, the last curve outermost."""
    parts, x = [], _WIDTH - _RIGHT
    for line in reversed(lines):
        x -= 6.2 * len(line.label)
        parts.append(f'<text class="tick" x="{x:.0f}" y="12">{escape(line.label)}</text>')
        parts.append(f'<path class="line c{line.colour}" d="M{x - 20:.0f} 8.5h15"/>')
        x -= 34
    return "".join(parts)


def _range(values: Values) -> str:
    there = [value for value in values if value is not None]
    return f"{min(there):.4g} to {max(there):.4g}" if there else "without values"
