"""The options of a component as JSON schema and as rows of a table."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pydantic_core
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))


class DocumentedSchema(GenerateJsonSchema):
    """Adds what the docstrings say, and that unknown options are refused."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        produced = super().dataclass_schema(schema)
        documented = _documented_options(schema["cls"])
        fields = schema["cls"].__dataclass_fields__
        for name, option in produced.get("properties", {}).items():
            if name in documented:
                option.setdefault("description", documented[name])
            # pydantic leaves these defaults out, since a factory may give another value each time; options do not.
            if name in fields and fields[name].default_factory is not dataclasses.MISSING:
                option.setdefault("default", pydantic_core.to_jsonable_python(fields[name].default_factory()))
        produced["additionalProperties"] = False
        if "description" in produced:
            produced["description"] = produced["description"].partition("\n")[0]
        return produced


def _documented_options(component: type) -> dict[str, str]:
    """What the docstrings of a class and of those it inherits from say of their fields; the nearest wins."""
    found: dict[str, str] = {}
    for one in reversed(component.__mro__):
        found |= documented_attributes(inspect.cleandoc(one.__dict__.get("__doc__") or ""))
    return found


def documented_attributes(doc: str) -> dict[str, str]:
    """The ``Attributes:`` (or ``Args:``) section of a Google-style docstring, names to one line each."""
    section = re.search(r"^(?:Attributes|Args):\n((?:[ \t]+.*\n?|\n)*)", doc, re.MULTILINE)
    if section is None:
        return {}
    lines = inspect.cleandoc("\n" + section.group(1)).splitlines()
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        head = re.match(r"(\w+(?:, \w+)*)(?: \([^)]*\))?: (.*)", line)
        if head:
            names = head.group(1).split(", ")
            found.update(dict.fromkeys(names, head.group(2).strip()))
        elif line.strip() and line.startswith(" "):
            found.update({name: f"{found[name]} {line.strip()}" for name in names})
    return found


@dataclass(frozen=True)
class OptionRow:
    """One option as ``medldm plugins show`` prints it.

    Attributes:
        path: ``mask.acceleration``.
        type: in words.
        default: as JSON; ``required`` when there is none.
        range: bounds or choices; empty when any value of the type will do.
        doc: its line in the docstring.
    """

    path: str
    type: str
    default: str
    range: str
    doc: str

    @property
    def parent(self) -> str:
        """Path of the table that holds it."""
        return self.path.rpartition(".")[0]


def option_rows(schema: Mapping[str, Any]) -> list[OptionRow]:
    """All options of a JSON schema of :func:`medldm.host.options.schema`, nested ones after their table."""
    return list(_rows(schema, schema.get("$defs", {}), "", (), {}))


def _rows(
    schema: Mapping[str, Any],
    definitions: Mapping[str, Any],
    prefix: str,
    above: tuple[str, ...],
    defaults: Mapping[str, Any],
) -> Iterator[OptionRow]:
    """``defaults`` are those of the table that holds these options, which need not be those of their own class."""
    required = () if defaults else schema.get("required", ())
    for name, option in schema.get("properties", {}).items():
        members = _members(option, definitions)
        given = defaults.get(name, option.get("default"))
        default = "required" if name in required else _value(given)
        tables = [member for member in _with_items(members, definitions) if "properties" in member]
        yield OptionRow(
            f"{prefix}{name}",
            " or ".join(dict.fromkeys(_type(member, definitions) for member in members)),
            "table" if isinstance(given, dict) else default,
            " | ".join(dict.fromkeys(text for member in members if (text := _range(member)))),
            str(option.get("description", "")),
        )
        nested: dict[str, OptionRow] = {}
        for table in tables:
            title = str(table.get("title", ""))
            if title in above:
                continue
            inherited = given if isinstance(given, dict) and set(given) <= set(table["properties"]) else {}
            for row in _rows(table, definitions, f"{prefix}{name}.", (*above, title), inherited):
                nested[row.path] = _merged(nested[row.path], row) if row.path in nested else row
        yield from nested.values()


def _merged(first: OptionRow, second: OptionRow) -> OptionRow:
    """One row for an option that two members of a union share, e.g. the word that tells them apart."""
    texts = {
        name: " | ".join(dict.fromkeys(text for row in (first, second) if (text := getattr(row, name))))
        for name in ("range", "doc", "default")
    }
    return replace(first, **texts)


def _with_items(members: list[Mapping[str, Any]], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = [member["items"] for member in members if isinstance(member.get("items"), Mapping)]
    return [*members, *(inner for item in items for inner in _members(item, definitions))]


def _members(option: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The alternatives of an option, references followed."""
    for key in ("anyOf", "oneOf", "allOf"):
        if key in option:
            return [member for part in option[key] for member in _members(part, definitions)]
    reference = option.get("$ref")
    if reference is not None:
        return _members(definitions[reference.rpartition("/")[2]], definitions)
    return [option]


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "properties" in schema:
        return "table"
    if "enum" in schema or "const" in schema:
        return "choice"
    if schema.get("type") == "array":
        inner = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        kinds = dict.fromkeys(_type(member, definitions) for member in _members(inner, definitions))
        return f"list of {' or '.join(kinds)}"
    names = {"null": "nothing", "boolean": "true/false", "string": "text", "object": "table"}
    kind = str(schema.get("type", "any"))
    return names.get(kind, kind)


def _range(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    parts = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS if key in schema]
    if schema.get("type") == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        if least is not None and least == most:
            parts.append(f"{least} values")
        elif least is not None:
            parts.append(f"at least {least} values")
    return ", ".join(parts)


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
