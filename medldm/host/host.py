"""The host: what the installed plugins offer, and the way to it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medldm.errors import ComponentMissing
from medldm.host import discovery, loading
from medldm.host.blame import blamed
from medldm.host.commands import merge
from medldm.host.discovery import Admission, Candidate
from medldm.host.loading import Loaded, PluginRow
from medldm.host.registry import KINDS, SINGULAR, Entry, Kind, Registry, closest, quoted

if TYPE_CHECKING:
    import typer

_log = logging.getLogger(__name__)
_WAYS_BACK = {"absent": "Install it with that command.", "blocked": "Unblock it, see docs/concepts/plugins.md."}


class Host:
    """The loaded plugins. Made by :func:`load_host`.

    Attributes:
        plugins: one row per installed plugin, broken and blocked ones included.
    """

    def __init__(self, registry: Registry, loaded: Iterable[Loaded]) -> None:
        self._registry = registry
        self._loaded = tuple(loaded)
        self.plugins: tuple[PluginRow, ...] = tuple(one.row for one in self._loaded)
        self._shipped = {row.name for row in self.plugins if discovery.is_first_party(row.distribution)}

    def names(self, kind: Kind) -> list[str]:
        """Names of one kind in the order of :meth:`entries`."""
        return [entry.name for entry in self.entries(kind)]

    def entries(self, kind: Kind) -> list[Entry]:
        """Entries of one kind by name, those that come with medldm first: nobody is asked before them."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}, there are {', '.join(KINDS)}")
        return sorted(self._registry.entries(kind), key=lambda entry: not self.ships(entry))

    def ships(self, entry: Entry) -> bool:
        """Whether a component comes with medldm."""
        return entry.plugin in self._shipped

    def find(self, kind: Kind, name: str) -> Entry:
        """The component of that name.

        Raises:
            ComponentMissing: ``E-PLG-08`` with the closest three names, and the plugins that failed to load and may
                be the ones that provide it.
        """
        names = self.names(kind)
        entry = self._registry.get(kind, name)
        if entry is not None:
            return entry
        reasons = []
        if names:
            reasons.append(f"The closest names are {quoted(closest(name, names))}.")
        absent = [row for row in self.plugins if row.status != "ok"]
        named = [row for row in absent if f"{kind}/{name}" in row.rejected]
        absent = named or [row for row in absent if row.status != "absent"]
        if len(absent) == 1:
            reasons.append(f"The plugin {absent[0].name!r}, which may provide it, is not usable: {absent[0].error}")
        elif absent:
            reasons.append(f"The plugins {quoted(row.name for row in absent)}, which may provide it, are not usable.")
        raise ComponentMissing(
            "E-PLG-08",
            f"There is no {SINGULAR[kind]} {name!r}.",
            why=" ".join(reasons),
            fix="Run 'medldm plugins list' to see what is installed.",
        )

    def named(self, name: str) -> list[Entry]:
        """The components of a plugin, the components of that name in every kind, or the one called ``kind/name``.

        Raises:
            ComponentMissing: ``E-PLG-14`` when no component and no plugin, not even a broken one, has this name; the
                code of the plugin, or ``E-PLG-16``, when it is that of one which is not usable.
        """
        everything = [entry for kind in KINDS for entry in self.entries(kind)]
        found = [e for e in everything if name in (e.plugin, e.name, f"{e.kind}/{e.name}")]
        plugins = [row.name for row in self.plugins]
        if found:
            return found
        for row in self.plugins:
            if row.status != "ok" and row.answers_to(name):
                subject = f"The plugin {row.name!r}" if name == row.name else f"{name!r} of the plugin {row.name!r}"
                raise ComponentMissing(
                    row.code or "E-PLG-16",
                    f"{subject} is not usable.",
                    why=row.error,
                    fix=_WAYS_BACK.get(row.status, ""),
                )
        if name in plugins:
            return []
        known = {*plugins, *(entry.name for entry in everything)}
        raise ComponentMissing(
            "E-PLG-14",
            f"There is no plugin or component {name!r}.",
            why=f"The closest names are {quoted(closest(name, known))}." if known else "",
            fix="Run 'medldm plugins list' to see what is installed.",
        )

    def build(self, kind: Kind, name: str, options: Mapping[str, Any], where: str = "") -> Any:
        """An instance of a component with checked options.

        Args:
            kind: of the component.
            name: of the component.
            options: plain data as a recipe holds it, nested tables for nested dataclasses.
            where: path of ``options`` in the recipe, such as ``"acquisition"``, for messages.

        Raises:
            ComponentMissing: the component is unknown or cannot be imported; ``E-PLG-18``, its ``references`` are none.
            UsageError: ``E-OPT-..``, an option is unknown, missing, of the wrong type or out of range.
            MedldmError: ``E-PLG-17``, the component raised something else than a refusal of its options.
        """
        # pydantic takes longer to import than everything that listing plugins needs.
        from medldm.host.options import build

        entry = self.find(kind, name)
        with blamed(entry):
            component = build(entry.load(), options, where=where, subject=f"{SINGULAR[kind]} {name!r}")
            _require_references(entry, getattr(component, "references", ()))
        return component

    def schema(self, kind: Kind, name: str) -> dict[str, Any]:
        """JSON schema of a component's options."""
        from medldm.host.options import schema

        return schema(self.find(kind, name).load())

    def call_add_commands(self, app: typer.Typer) -> None:
        """Let each plugin add commands; one that raises or takes a used name adds none, and is logged."""
        for one in self._loaded:
            add = one.observers.get("add_commands")
            if add is None:
                continue
            added = type(app)()
            try:
                add(app=added)
                merge(app, added)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _log.warning("the plugin %r added no commands: %s", one.row.name, error, exc_info=True)

    def case_finished(self, case: str, record: dict[str, Any]) -> None:
        """Show each plugin the record of a finished case, each its own copy; what they raise is logged."""
        for one in self._loaded:
            look = one.observers.get("case_finished")
            if look is None:
                continue
            try:
                look(case=case, record=copy.deepcopy(record))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                _log.warning("the plugin %r failed in case_finished: %s", one.row.name, error, exc_info=True)


def _require_references(entry: Entry, references: Any) -> None:
    if not isinstance(references, (tuple, list)) or not all(isinstance(one, str) for one in references):
        raise ComponentMissing(
            "E-PLG-18",
            f"{entry.subject} has references that are {references!r}.",
            why="The report of a run cites them: a tuple of texts, one per work.",
            fix=f"Tell the author of the plugin {entry.plugin!r}.",
        )


def load_host(allow: Sequence[str] | None = None, block: Sequence[str] = ()) -> Host:
    """Load the installed plugins.

    Args:
        allow: names of plugins or distributions that may be loaded besides the first-party ones; None allows all,
            unless the variable ``MEDLDM_PLUGINS`` holds a comma-separated list. Empty allows first-party plugins only.
        block: names never imported, in addition to ``MEDLDM_BLOCK_PLUGINS``.

    Raises:
        MedldmError: what is wrong with a plugin, only when ``MEDLDM_STRICT_PLUGINS`` is set.
    """
    environ = discovery.environment()
    return assemble(discovery.installed(), Admission.of(allow, block, environ), strict=discovery.strict(environ))


def assemble(candidates: Sequence[Candidate], admission: Admission, *, strict: bool = False) -> Host:
    """A host of given candidates, loaded in their order; a later one never replaces what an earlier one registered."""
    admission.warn_of_unknown(candidates)
    registry = Registry()
    loaded: list[Loaded] = []
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        refusal = admission.refusal(candidate)
        if refusal:
            loaded.append(loading.blocked(candidate, refusal))
        elif candidate.name in seen:
            loaded.append(loading.same_name(candidate, seen[candidate.name], strict=strict))
        else:
            seen[candidate.name] = candidate
            loaded.append(loading.load(candidate, registry, strict=strict))
    return Host(registry, loaded)
