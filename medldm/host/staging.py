"""The ``register`` that plugins call: it checks each registration and keeps it until all of the plugin's are in."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping

from medldm.errors import ComponentMissing
from medldm.host.needs import NEEDS
from medldm.host.registry import SINGULAR, Entry, Kind, closest

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Staging:
    """Registrations of one plugin, not yet in the registry. Calling it with a kind gives ``register``."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self.entries: list[Entry] = []
        self.packages: dict[str, str] = {}

    def add(
        self,
        kind: Kind,
        name: str,
        target: str,
        *,
        example: str,
        summary: str,
        needs: str | tuple[str, ...] = (),
        packages: Mapping[str, str] | None = None,
    ) -> None:
        """Check one registration and keep it.

        Raises:
            ComponentMissing: ``E-PLG-06`` when it is malformed, ``E-PLG-07`` when the plugin registers a name twice.
        """
        subject = f"the {SINGULAR[kind]} {name!r}"
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise self._malformed(
                f"the name {name!r} of a {SINGULAR[kind]} is not in kebab case", "Use a name such as 'ct-fan'."
            )
        for label, reference in (("target", target), ("example", example)):
            if not (isinstance(reference, str) and _REFERENCE.fullmatch(reference)):
                raise self._malformed(
                    f"the {label} {reference!r} of {subject} is not a reference",
                    "Write it as 'package.module:name'.",
                )
        if not (isinstance(summary, str) and summary.strip()) or "\n" in summary:
            raise self._malformed(f"{subject} has no summary of one line", "Say in one sentence what it does.")
        words = (needs,) if isinstance(needs, str) else tuple(needs)
        for word in words:
            if word not in NEEDS:
                near = closest(str(word), NEEDS, 1)[0]
                raise self._malformed(
                    f"{subject} needs {word!r}, which is no known capability",
                    f"Did you mean {near!r}? The words stand in docs/concepts/plugins.md.",
                )
        if any(entry.kind == kind and entry.name == name for entry in self.entries):
            raise ComponentMissing(
                "E-PLG-07",
                f"The plugin {self._plugin!r} registers {subject} twice.",
                fix="Rename one of the two components.",
            )
        self.packages |= packages or {}
        self.entries.append(Entry(kind, name, self._plugin, target, example, summary.strip(), words))

    def absent(self) -> dict[str, str]:
        """Of the packages that the components cannot do without those that are not installed, with their commands."""
        return {name: command for name, command in self.packages.items() if not _is_installed(name)}

    def _malformed(self, what: str, fix: str) -> ComponentMissing:
        return ComponentMissing("E-PLG-06", f"In the plugin {self._plugin!r} {what}.", fix=fix)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class Registrar:
    """The ``register`` of one kind, see :class:`medldm.host.hookspecs.Register`."""

    def __init__(self, staging: Staging, kind: Kind) -> None:
        self._staging = staging
        self._kind = kind

    def __call__(
        self,
        name: str,
        target: str,
        *,
        example: str,
        summary: str,
        needs: str | tuple[str, ...] = (),
        packages: Mapping[str, str] | None = None,
    ) -> None:
        self._staging.add(self._kind, name, target, example=example, summary=summary, needs=needs, packages=packages)
