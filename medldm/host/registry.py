"""What plugins registered: entries by kind and name, their targets resolved on use."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from medldm.errors import ComponentMissing

Kind = Literal["operators", "priors", "solvers", "readers", "writers", "metrics"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# How one component of a kind is called in a sentence.
SINGULAR: dict[Kind, str] = {
    "operators": "physics",
    "priors": "prior family",
    "solvers": "solver",
    "readers": "reader",
    "writers": "writer",
    "metrics": "metric",
}


def closest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """The ``n`` names most like ``name``, best first."""
    return difflib.get_close_matches(name, sorted(set(names)), n=n, cutoff=0.0)


def quoted(names: Iterable[str]) -> str:
    """``'a', 'b', 'c'`` for a sentence."""
    return ", ".join(f"'{name}'" for name in names)


def sentence(error: BaseException) -> str:
    """An exception as one line with a full stop: its type and its message."""
    text = " ".join(str(error).split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if line.endswith(".") else f"{line}."


@dataclass(frozen=True)
class Entry:
    """One registered component; nothing of it is imported until :meth:`load`.

    Attributes:
        kind: which hook it came through.
        name: unique within its kind.
        plugin: name of the plugin that registered it.
        target: ``"package.module:Class"``.
        example: ``"package.examples:function"``.
        summary: one sentence.
        needs: words of :data:`medldm.host.needs.NEEDS`.
    """

    kind: Kind
    name: str
    plugin: str
    target: str
    example: str
    summary: str
    needs: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """How a sentence about it begins: ``The solver 'tv' of the plugin 'solvers'``."""
        return f"The {SINGULAR[self.kind]} {self.name!r} of the plugin {self.plugin!r}"

    def load(self) -> Any:
        """The component's class.

        Raises:
            ComponentMissing: ``E-PLG-10`` a package is not installed, ``E-PLG-11`` the target does not exist or
                cannot be imported.
        """
        return self._resolve(self.target)

    def load_example(self) -> Any:
        """What the component's example function returns (see :mod:`medldm.testing.examples`).

        Raises:
            ComponentMissing: as :meth:`load`, and ``E-PLG-12`` when the example function raises.
        """
        make = self._resolve(self.example)
        try:
            return make()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit in an example must not end the checks of the others
            raise ComponentMissing(
                "E-PLG-12",
                f"The example {self.example!r} of the {SINGULAR[self.kind]} {self.name!r} raised {sentence(error)}",
                why="A component without a working example cannot be checked.",
                fix=f"Repair the example in the plugin {self.plugin!r}.",
            ) from error

    def _resolve(self, reference: str) -> Any:
        module, _, attribute = reference.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            package = (error.name or module).partition(".")[0]
            if importlib.util.find_spec(package) is not None:
                raise self._broken(reference, error) from error
            raise ComponentMissing(
                "E-PLG-10",
                f"{self.subject} needs the Python package {package!r}, which is not installed.",
                why=f"It is imported by {reference!r}.",
                fix=f"Install what provides {package!r} in this environment.",
            ) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as of a plugin's own module, see medldm.host.loading
            raise self._broken(reference, error) from error
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise ComponentMissing(
                    "E-PLG-11",
                    f"{self.subject} points to {reference!r}, but there is no {part!r} there.",
                    fix=f"Repair the registration in the plugin {self.plugin!r}.",
                )
            found = getattr(found, part)
        return found

    def _broken(self, reference: str, error: BaseException) -> ComponentMissing:
        return ComponentMissing(
            "E-PLG-11",
            f"{self.subject} cannot be imported from {reference!r}: {sentence(error)}",
            fix=f"Repair or reinstall the plugin {self.plugin!r}.",
        )


class Registry:
    """Entries of all plugins, by kind and name."""

    def __init__(self) -> None:
        self._entries: dict[Kind, dict[str, Entry]] = {kind: {} for kind in KINDS}

    def add(self, entries: Sequence[Entry]) -> None:
        """Take all of a plugin's entries, or none of them.

        Raises:
            ComponentMissing: ``E-PLG-07`` when a name of the same kind is taken, naming both plugins.
        """
        for entry in entries:
            taken = self._entries[entry.kind].get(entry.name)
            if taken is not None:
                raise ComponentMissing(
                    "E-PLG-07",
                    f"The plugins {taken.plugin!r} and {entry.plugin!r} both register the "
                    f"{SINGULAR[entry.kind]} {entry.name!r}.",
                    why=f"{taken.plugin!r} was loaded first and keeps the name; nothing of {entry.plugin!r} is used.",
                    fix=f"Rename the component in {entry.plugin!r}, or block one of the two plugins.",
                )
        for entry in entries:
            self._entries[entry.kind][entry.name] = entry

    def get(self, kind: Kind, name: str) -> Entry | None:
        """The entry, or None."""
        return self._entries[kind].get(name)

    def entries(self, kind: Kind) -> list[Entry]:
        """All entries of one kind, by name."""
        return [entry for _, entry in sorted(self._entries[kind].items())]
