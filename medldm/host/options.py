"""Options of a component: its dataclass fields are the schema, pydantic checks them, messages name the option.

Options are plain data, as a recipe or the command line holds them, and are checked as strict JSON: an integer may
stand for a number and a list for a tuple, but a string is no number and true is no integer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pydantic
import pydantic_core

from medldm.errors import ComponentMissing, UsageError
from medldm.host.option_schema import DocumentedSchema, option_rows
from medldm.host.registry import closest, quoted, sentence

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden", "no_such_attribute")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_RANGE = (
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "multiple_of",
    "finite_number",
    "literal_error",
    "enum",
    "too_short",
    "too_long",
    "string_too_short",
    "string_too_long",
    "string_pattern_mismatch",
    "union_tag_invalid",
)


def build(target: Any, options: Mapping[str, Any], *, where: str = "", subject: str = "component") -> Any:
    """An instance of the dataclass ``target``.

    Args:
        target: a dataclass; nested dataclasses are nested tables.
        options: plain data.
        where: path of ``options`` in the recipe, put in front of each option's name in messages.
        subject: how the component is called in messages, e.g. ``"solver 'tv'"``.

    Raises:
        UsageError: ``E-OPT-01`` unknown option, ``E-OPT-02`` missing, ``E-OPT-03`` wrong type, ``E-OPT-04`` out of
            range, ``E-OPT-05`` refused by the component itself, ``E-OPT-06`` not plain data.
        ComponentMissing: ``E-OPT-07`` when the target's fields are no option schema.
    """
    adapter = _adapter(target)
    if not isinstance(options, Mapping):
        raise UsageError(
            "E-OPT-06",
            f"The options of the {subject} are {_shown(options)}, not a table.",
            fix=f"Write '{where or 'options'}: {{name: value}}'.",
        )
    for path, value in _leaves(options, ()):
        if isinstance(value, float) and math.isnan(value):
            raise UsageError("E-OPT-04", f"{_named(where, path)} of the {subject} is not a number (NaN).")
    try:
        text = pydantic_core.to_json(options, inf_nan_mode="constants")
    except pydantic_core.PydanticSerializationError as error:
        raise UsageError(
            "E-OPT-06",
            f"The options of the {subject} are not plain data: {sentence(error)}",
            fix="Use numbers, words, truth values, lists and tables only.",
        ) from error
    try:
        return adapter.validate_json(text, strict=True, extra="forbid")
    except pydantic.ValidationError as error:
        problems = sorted(error.errors(include_url=False), key=_order)
        _refuse(problems, options, adapter, where, subject)


def schema(target: Any) -> dict[str, Any]:
    """JSON schema of the options of a dataclass, each described by its line under ``Attributes:``."""
    return _adapter(target).json_schema(schema_generator=DocumentedSchema)


def _adapter(target: Any) -> pydantic.TypeAdapter[Any]:
    name = getattr(target, "__qualname__", type(target).__qualname__)
    if not (isinstance(target, type) and dataclasses.is_dataclass(target)):
        raise ComponentMissing(
            "E-OPT-07",
            f"{name!r} is registered as a component but is not a dataclass.",
            why="The fields of a dataclass are the options that recipes set.",
            fix="Register a frozen dataclass.",
        )
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(target)
        if not adapter.pydantic_complete:
            adapter.rebuild(raise_errors=True)
        return adapter
    except Exception as error:
        raise ComponentMissing(
            "E-OPT-07",
            f"The fields of {name!r} are no option schema: {sentence(error)}",
            why="Options are plain data: numbers, words, lists and nested dataclasses.",
            fix="Annotate the fields with such types.",
        ) from error


def _order(problem: Any) -> int:
    # Misspelt options explain missing ones, and both explain more than a value.
    kind = problem["type"]
    return 0 if kind in _UNKNOWN else 1 if kind in _MISSING else 2


def _refuse(
    problems: Sequence[Any], options: Mapping[str, Any], adapter: pydantic.TypeAdapter[Any], where: str, subject: str
) -> NoReturn:
    problem = problems[0]
    kind, message = problem["type"], problem["msg"]
    path = _path(problem, options)
    name = _named(where, path)
    more = sorted({_named(where, _path(other, options)) for other in problems[1:]} - {name})
    why = f"There are problems with {', '.join(more)} as well." if more else ""
    if kind in _UNKNOWN:
        rows = option_rows(adapter.json_schema())
        siblings = [r.path.rpartition(".")[2] for r in rows if r.parent == ".".join(_words(path[:-1]))]
        near = f"The closest options are {quoted(closest(str(path[-1]), siblings))}." if siblings else ""
        raise UsageError(
            "E-OPT-01",
            f"The {subject} has no option {name}.",
            why=" ".join(part for part in (near or "It has no options.", why) if part),
            fix="Correct the name, or remove the line.",
        )
    if kind in _MISSING:
        raise UsageError("E-OPT-02", f"The {subject} needs the option {name}.", why=why, fix="Add it to the recipe.")
    if kind in ("value_error", "assertion_error"):
        refusal = message.removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
        place = f"'{where}' " if where else ""
        what = f"{name} of the {subject} is refused" if path else f"The {subject} refuses its options {place}"
        raise UsageError("E-OPT-05", f"{what.rstrip()}: {refusal}.", why=why, fix="Correct the value.")
    if kind == "union_tag_invalid":
        expected = f"one of {problem['ctx']['expected_tags']} in {problem['ctx']['discriminator']}"
    else:
        expected = message.removeprefix("Input should be ")
    raise UsageError(
        "E-OPT-04" if kind in _RANGE else "E-OPT-03",
        f"{name} of the {subject} should be {expected}, but is {_shown(problem['input'])}.",
        why=why,
        fix="Correct the value.",
    )


def _path(problem: Any, options: Any) -> tuple[str | int, ...]:
    """Where in the options the problem lies. pydantic's location also names members of unions; those are left out."""
    path: list[str | int] = []
    here = options
    location = problem["loc"]
    for position, part in enumerate(location):
        is_key = isinstance(here, Mapping) and part in here
        is_place = isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here)
        is_absent = problem["type"] in _MISSING and position == len(location) - 1
        if is_key or is_place:
            here = here[part]
        if is_key or is_place or is_absent:
            path.append(part)
    return tuple(path)


def _named(where: str, path: Sequence[str | int]) -> str:
    """``acquisition.mask.acceleration``; list positions in brackets."""
    name = where
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return f"'{name}'"


def _words(path: Sequence[str | int]) -> list[str]:
    return [part for part in path if isinstance(part, str)]


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path, value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
