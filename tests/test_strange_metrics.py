"""Metrics of strangers that fail, exit or take names that are not theirs: the others have their values."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch

from medldm import hookimpl
from medldm.data import Grid, Volume
from medldm.host import Host, hookspecs, load_host
from medldm.host.discovery import Admission, Candidate, installed
from medldm.host.host import assemble
from medldm.pipeline.metrics import compare, compare_slices


@dataclass(frozen=True)
class Raising:
    """Fails."""

    def __call__(self, estimate: Volume, truth: Volume) -> Mapping[str, float]:
        raise ZeroDivisionError("boom")


@dataclass(frozen=True)
class Leaving:
    """Ends the program, as if all were well."""

    def __call__(self, estimate: Volume, truth: Volume) -> Mapping[str, float]:
        sys.exit(0)


@dataclass(frozen=True)
class Wordy:
    """Gives no numbers."""

    def __call__(self, estimate: Volume, truth: Volume) -> Mapping[str, float]:
        return {"worded": "high"}  # type: ignore[dict-item]


@dataclass(frozen=True)
class Grasping:
    """Has a value of its own, and one under the name of another."""

    def __call__(self, estimate: Volume, truth: Volume) -> Mapping[str, float]:
        return {"psnr": 999.0, "own": 1.0}

    def curves(self, estimate: Volume, truth: Volume) -> Mapping[str, Sequence[float]]:
        """In every slice."""
        return {"own": [1.0] * estimate.grid.shape[0]}


@hookimpl
def register_metrics(register: hookspecs.Register) -> None:
    """Under names that sort before and after those of shipped metrics."""
    targets = {"a-raising": "Raising", "a-leaving": "Leaving", "a-wordy": "Wordy", "a-absent": "NotThere"}
    for name, target in (targets | {"a-grasping": "Grasping", "zz-grasping": "Grasping"}).items():
        register(name, f"{__name__}:{target}", example=f"{__name__}:{target}", summary="For tests")


def _host() -> Host:
    strangers = Candidate("strangers", "strangers", "1", __name__, lambda: sys.modules[__name__])
    return assemble([*installed(), strangers], Admission.of(None, (), {}))


def test_the_values_of_others_stay_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    truth = Volume(torch.rand(5, 32, 32), Grid.isotropic((5, 32, 32)), "arbitrary", "MR")
    image = truth.with_data(truth.data + 0.1 * torch.rand(5, 32, 32), "noise")
    with caplog.at_level(logging.WARNING):
        found, curves = compare(_host(), image, truth), compare_slices(_host(), image, truth)
    plain = compare(load_host(), image, truth)
    assert found == plain | {"own": 1.0} and math.isfinite(plain["psnr"])
    assert curves == compare_slices(load_host(), image, truth) | {"own": [1.0] * 5}
    told = " ".join(record.getMessage() for record in caplog.records)
    for name in ("a-raising", "a-leaving", "a-wordy", "a-absent", "a-grasping", "zz-grasping"):
        assert f"the metric {name!r} of the plugin 'strangers'" in told
