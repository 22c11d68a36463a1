"""Which lines are withheld: whole ones, about a tenth, never the centre, never all, and some wherever some are free."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from medldm.inference import Noise
from medldm_mri.calibration import calibration_region
from medldm_mri.examples import object_of
from medldm_mri.nonuniform import NonuniformMri
from medldm_mri.trajectory import Trajectory
from medldm_mri.withheld_lines import drawn_tenth, withheld_lines

FULL = torch.ones(24, 64)


def _lines(*rows: int) -> Tensor:
    mask = torch.zeros(64, 96)
    mask[list(rows)] = 1
    return mask


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("mask", "count"),
    [
        (_lines(*range(0, 64, 2), *range(26, 38)), 2 * 96),  # 25 rows are free
        (FULL, 4 * 24),  # the centre touches all 24 rows, but not 40 of the columns
        (_lines(*range(24, 40)), 6 * 16),  # 16 x 36 of all rows there are: 60 columns are free
    ],
)
def test_a_tenth_of_the_lines_that_are_free_along_either_axis(mask: Tensor, count: int, turned: bool) -> None:
    mask = mask.T if turned else mask
    centre = calibration_region(mask)
    withheld = withheld_lines(mask, Noise(1), centre)
    assert int(withheld.sum()) == count
    assert not bool(withheld[centre].any()) and bool((mask[withheld > 0] == 1).all())
    rows, columns = withheld.any(1), withheld.any(0)
    assert torch.equal(withheld > 0, rows[:, None] & columns & (mask > 0))
    assert not torch.equal(withheld, withheld_lines(mask, Noise(2), centre))


def test_points_where_no_line_is_free() -> None:
    full, diagonal = torch.ones(24, 24, dtype=torch.bool), torch.eye(24, dtype=torch.bool)
    withheld = drawn_tenth(full, Noise(1), diagonal)
    assert int(withheld.sum()) == 2
    assert bool(diagonal[withheld > 0].all())


def test_nothing_where_nothing_is_free() -> None:
    mask = torch.ones(20, 20)
    assert not bool(withheld_lines(mask, Noise(1), calibration_region(mask)).any())
    one = torch.zeros(20, 20)
    one[3, 4] = 1
    assert not bool(drawn_tenth(one > 0, Noise(1)).any())


@pytest.mark.parametrize("rows", [(5,), (5, 20)])
def test_something_is_left(rows: tuple[int, ...]) -> None:
    mask = _lines(*rows)
    withheld = drawn_tenth(mask > 0, Noise(1))
    assert 0 < int(withheld.sum()) < int(mask.sum())


def test_shots_that_were_not_measured_are_not_withheld() -> None:
    physics = NonuniformMri(coils=4, trajectory=Trajectory(shots=40), maps="simulated")
    acquisition = physics.simulate(object_of((1, 48, 40)), Noise(1))
    mask = torch.zeros(acquisition.data.shape[-2:])
    mask[::4] = 1
    some = dataclasses.replace(acquisition, tensors={**acquisition.tensors, "mask": mask})
    withheld = physics.withheld(some, Noise(1))
    assert withheld.shape == (40, 1) and int(withheld.sum()) == 2
    assert bool((mask[withheld[:, 0] > 0] == 1).all())
