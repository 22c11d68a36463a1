"""Whether redundancy weights are those of a scan: stated in a file they may contradict its angles or its detector."""

from __future__ import annotations

from medldm.errors import InputRefused

_TURNS = {"half-turn": 180.0, "full-turn": 360.0, "displaced": 360.0}


def require_weights(kind: str, arc: float, *, opening_deg: float, fan: bool, offset: float) -> None:
    """Refuse weights that a scan cannot have.

    Args:
        kind: as the physics ``ct-parallel``, ``ct-fan`` and ``ct-cone`` name them.
        arc: that the views cover in degrees, exactly half a turn or a full one where they do.
        opening_deg: half the opening of the fan.
        fan: whether the rays diverge.
        offset: of the detector's middle, as a share of the detector.

    Raises:
        InputRefused: E-PRJ-17.
    """
    needed = _TURNS.get(kind, arc)
    if kind == "short-scan" and arc < 180 + 2 * opening_deg * (1 - 1e-9):
        needed = 180 + 2 * opening_deg
    if arc != needed:
        raise _refused(f"The weights {kind!r} are those of {needed:.4g} degrees, the views cover {arc:.4g}.")
    if kind == ("half-turn" if fan else "short-scan"):
        raise _refused(f"The weights {kind!r} are not those of {'a fan or cone' if fan else 'parallel rays'}.")
    if kind == "displaced" and abs(offset) >= 0.5:
        raise InputRefused(
            "E-PRJ-17",
            f"The detector's middle is off by {abs(offset):.3g} of its width, so that it does not see the axis.",
            why="Lines near the axis of rotation are not measured by any view.",
            fix="Check the detector's offset, which is in mm.",
        )


def _refused(what: str) -> InputRefused:
    return InputRefused(
        "E-PRJ-17",
        what,
        why="Lines would be counted twice or not at all.",
        fix="Correct 'weights' in the JSON file, or leave it out: they follow from the angles.",
    )
