"""Help as the terminal likes it: a paragraph is one line, which it wraps where it ends."""

from __future__ import annotations

import inspect

import typer


def flow(app: typer.Typer) -> None:
    """Let the help of all commands of an app flow; in the source it is broken where the source ends."""
    for command in app.registered_commands:
        command.help = flowing(command.help or inspect.getdoc(command.callback) or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            flow(group.typer_instance)


def flowing(text: str) -> str:
    """Paragraphs without line breaks; one that begins or goes on with an indented line keeps its lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_one_line(paragraph) for paragraph in paragraphs)


def _one_line(paragraph: str) -> str:
    lines = paragraph.split("\n")
    return paragraph if any(line.startswith(" ") for line in lines) else " ".join(lines)
