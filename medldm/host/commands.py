"""Commands of plugins taken into the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medldm.errors import ComponentMissing
from medldm.host.registry import quoted

if TYPE_CHECKING:
    import typer


def merge(app: typer.Typer, added: typer.Typer) -> None:
    """Take the commands and groups of ``added`` into ``app``, all of them or none.

    Raises:
        ComponentMissing: ``E-PLG-13`` when a name is taken: a plugin may not replace a command.
    """
    taken = sorted(_names(app) & _names(added))
    if taken:
        raise ComponentMissing(
            "E-PLG-13",
            f"The command line already has the commands {quoted(taken)}.",
            why="A plugin may add commands but not replace them.",
            fix="Rename the plugin's commands.",
        )
    app.registered_commands.extend(added.registered_commands)
    app.registered_groups.extend(added.registered_groups)


def _names(app: typer.Typer) -> set[str]:
    """The names as they will be typed; Typer derives an unset one from the function."""
    names: list[Any] = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    for group in app.registered_groups:
        inner = group.typer_instance
        names += [group.name, inner.info.name if inner else None]
    # Typer marks an unset name of a group with a placeholder object.
    return {name.lower().replace("_", "-") for name in names if isinstance(name, str) and name}
