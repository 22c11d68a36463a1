from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from medldm.errors import ComponentMissing, InputRefused, MedldmError, UsageError
from medldm.host import load_host
from medldm.host.option_schema import documented_attributes, option_rows
from medldm.host.options import build, schema
from medldm.host.registry import KINDS


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Every nth line.

    Attributes:
        acceleration: ratio of all lines
            to measured lines.
        calibration: fully sampled share.
    """

    acceleration: Annotated[float, Field(gt=1, le=64)] = 4.0
    calibration: Annotated[float, Field(ge=0, lt=1)] = 0.08
    kind: Literal["uniform"] = "uniform"


@dataclasses.dataclass(frozen=True)
class Poisson:
    radius: float = 1.0
    kind: Literal["poisson"] = "poisson"


@dataclasses.dataclass(frozen=True)
class Physics:
    """A physics.

    Attributes:
        coils, views: how many.
        pitch: in mm.
    """

    coils: Annotated[int, Field(ge=1)]
    views: int = 60
    pitch: float | None = None
    window: Literal["hann", "ramp"] = "hann"
    clip: bool = False
    angles: tuple[float, ...] = ()
    file: Path | None = None
    mask: Uniform = dataclasses.field(default_factory=Uniform)
    pattern: Annotated[Uniform | Poisson, Field(discriminator="kind")] = dataclasses.field(default_factory=Uniform)
    terms: tuple[Poisson, ...] = ()
    dense: Uniform = dataclasses.field(default_factory=lambda: Uniform(acceleration=2.0))
    shape: list[int] = dataclasses.field(default_factory=lambda: [3, 4])

    def __post_init__(self) -> None:
        if self.coils == 13:
            raise ValueError("13 coils bring bad luck")
        if self.coils == 14:
            raise InputRefused("E-XYZ-01", "Fourteen coils do not exist.")


@dataclasses.dataclass(frozen=True)
class Helix(Physics):
    """A physics that adds one option.

    Attributes:
        rows: of the detector.
        pitch: per turn.
    """

    rows: int = 8


@dataclasses.dataclass(frozen=True)
class Undocumented(Helix):
    pass


def refusal(options: Any, where: str = "acquisition") -> MedldmError:
    with pytest.raises(MedldmError) as caught:
        build(Physics, options, where=where, subject="physics 'x'")
    return caught.value


def test_plain_data_becomes_typed_options() -> None:
    options = {
        "coils": 8,
        "pitch": 1,
        "angles": [0, 0.5],
        "file": "a/b",
        "mask": {"acceleration": 2},
        "pattern": {"kind": "poisson", "radius": 2},
        "terms": [{"radius": 3}],
    }
    built = build(Physics, options)
    assert built == Physics(
        8, pitch=1.0, angles=(0.0, 0.5), file=Path("a/b"), mask=Uniform(2.0), pattern=Poisson(2.0), terms=(Poisson(3),)
    )
    assert isinstance(built.pitch, float)
    assert isinstance(built.mask.acceleration, float)


def test_instances_and_infinity_are_accepted_from_python() -> None:
    built = build(Physics, {"coils": 1, "mask": Uniform(2.0), "file": Path("x"), "pitch": math.inf})
    assert built.mask == Uniform(2.0)
    assert built.pitch == math.inf


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"coils": 1, "veiws": 3}, "E-OPT-01", ["'acquisition.veiws'", "closest options are 'views'"]),
        ({"coils": 1, "mask": {"accelaration": 3}}, "E-OPT-01", ["'acquisition.mask.accelaration'", "'acceleration'"]),
        ({"coils": 1, "pattern": {"kind": "poisson", "radios": 3}}, "E-OPT-01", ["acquisition.pattern.radios"]),
        ({"coils": 1, "terms": [{}, {"radios": 1}]}, "E-OPT-01", ["'acquisition.terms[1].radios'", "'radius'"]),
        ({}, "E-OPT-02", ["'acquisition.coils'"]),
        ({"coils": "8"}, "E-OPT-03", ["'acquisition.coils'", "integer", "'8'"]),
        ({"coils": True}, "E-OPT-03", ["'acquisition.coils'", "True"]),
        ({"coils": 1, "pitch": "1.5"}, "E-OPT-03", ["'acquisition.pitch'", "number"]),
        ({"coils": 1, "pitch": True}, "E-OPT-03", ["'acquisition.pitch'"]),
        ({"coils": 1, "clip": 1}, "E-OPT-03", ["'acquisition.clip'"]),
        ({"coils": 1, "angles": [0, "b"]}, "E-OPT-03", ["'acquisition.angles[1]'"]),
        ({"coils": 1, "mask": 3}, "E-OPT-03", ["'acquisition.mask'"]),
        ({"coils": 0}, "E-OPT-04", ["'acquisition.coils'", "greater than or equal to 1", "0"]),
        ({"coils": 1, "mask": {"acceleration": -4}}, "E-OPT-04", ["'acquisition.mask.acceleration'", "-4"]),
        ({"coils": 1, "window": "hamm"}, "E-OPT-04", ["'acquisition.window'", "'hann' or 'ramp'"]),
        ({"coils": 1, "pattern": {"kind": "spiral"}}, "E-OPT-04", ["'acquisition.pattern'", "'uniform', 'poisson'"]),
        ({"coils": 1, "mask": {"acceleration": math.nan}}, "E-OPT-04", ["'acquisition.mask.acceleration'", "NaN"]),
        ({"coils": 13}, "E-OPT-05", ["bad luck"]),
        ({"coils": object()}, "E-OPT-06", ["plain data"]),
        ([1], "E-OPT-06", ["not a table"]),
    ],
)
def test_a_wrong_option_is_refused_by_its_path(options: Any, code: str, words: list[str]) -> None:
    error = refusal(options)
    assert isinstance(error, UsageError)
    assert error.code == code
    assert error.exit_code == 2
    for word in words:
        assert word in str(error)


def test_further_problems_are_named_after_the_first() -> None:
    error = refusal({"coil": 1, "views": "many"})
    assert error.code == "E-OPT-01"
    assert "'acquisition.coils', 'acquisition.views'" in error.why


def test_a_refusal_of_the_component_itself_passes_through() -> None:
    assert refusal({"coils": 14}).code == "E-XYZ-01"


def test_without_a_path_options_stand_alone() -> None:
    assert "'mask.accel'" in str(refusal({"coils": 1, "mask": {"accel": 1}}, where=""))


@pytest.mark.parametrize("target", [print, 3, dict, lambda: None])
def test_a_target_without_fields_is_no_component(target: Any) -> None:
    with pytest.raises(ComponentMissing) as caught:
        build(target, {})
    assert caught.value.code == "E-OPT-07"


def test_fields_that_are_no_plain_data_are_no_schema() -> None:
    @dataclasses.dataclass
    class Opaque:
        thing: threading_lock = None  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ComponentMissing) as caught:
        schema(Opaque)
    assert caught.value.code == "E-OPT-07"


def test_the_schema_is_json_and_says_what_the_docstrings_say() -> None:
    described = json.loads(json.dumps(schema(Physics)))
    assert described["properties"]["coils"] == {
        "description": "how many.",
        "minimum": 1,
        "title": "Coils",
        "type": "integer",
    }
    assert described["additionalProperties"] is False
    uniform = described["$defs"]["Uniform"]
    assert uniform["properties"]["acceleration"]["description"] == "ratio of all lines to measured lines."
    assert uniform["additionalProperties"] is False
    assert described["required"] == ["coils"]


def test_option_rows_hold_type_default_range_and_doc() -> None:
    rows = {row.path: row for row in option_rows(schema(Physics))}
    assert (rows["coils"].default, rows["coils"].range, rows["coils"].type) == ("required", ">= 1", "integer")
    assert rows["pitch"].doc == "in mm."
    assert rows["pitch"].type == "number or nothing"
    assert rows["window"].range == "hann | ramp"
    assert rows["clip"].default == "false"
    assert rows["angles"].type == "list of number"
    assert rows["mask.acceleration"].range == "> 1, <= 64"
    assert rows["pattern.kind"].range == "uniform | poisson"
    assert rows["terms.radius"].default == "1.0"


@pytest.mark.parametrize("inheriting", [Helix, Undocumented])
def test_inherited_options_keep_their_meaning_and_the_nearest_docstring_wins(inheriting: type) -> None:
    rows = {row.path: row.doc for row in option_rows(schema(inheriting))}
    assert (rows["views"], rows["rows"], rows["pitch"]) == ("how many.", "of the detector.", "per turn.")


def test_every_option_of_a_shipped_component_has_a_meaning() -> None:
    host = load_host()
    shipped = {row.name for row in host.plugins if row.distribution == "medldm"}
    empty = [
        f"{kind}/{entry.name}: {row.path}"
        for kind in KINDS
        for entry in host.entries(kind)
        if entry.plugin in shipped
        for row in option_rows(host.schema(kind, entry.name))
        if not row.doc
    ]
    assert not empty


def test_option_rows_show_the_defaults_in_force_where_a_table_sets_its_own() -> None:
    rows = {row.path: row for row in option_rows(schema(Physics))}
    assert (rows["mask"].default, rows["mask.acceleration"].default) == ("table", "4.0")
    assert (rows["dense"].default, rows["dense.acceleration"].default) == ("table", "2.0")
    assert rows["shape"].default == "[3, 4]"
    assert rows["pattern.calibration"].default == "0.08"
    assert rows["pattern.radius"].default == "1.0"


def test_documented_attributes_reads_names_together_and_continued_lines() -> None:
    doc = """One line.

Attributes:
    a, b: both of them
        over two lines.
    c (int): the third: with a colon.

Raises:
    d: not an attribute.
"""
    assert documented_attributes(doc) == {
        "a": "both of them over two lines.",
        "b": "both of them over two lines.",
        "c": "the third: with a colon.",
    }
