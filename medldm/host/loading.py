"""One plugin loaded in its own guard: its module, its hooks, its registrations.

Every plugin has a plugin manager of its own. pluggy's shared call stops at the first implementation that raises, and
a manager keeps half of a plugin whose validation failed; alone, neither can touch a neighbour.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pluggy

from medldm.errors import ComponentMissing, MedldmError
from medldm.host import hookspecs
from medldm.host.discovery import GROUP, Candidate
from medldm.host.registry import KINDS, Entry, Registry, closest, quoted, sentence
from medldm.host.staging import Registrar, Staging

Status = Literal["ok", "error", "blocked", "absent"]
_REGISTER = {f"register_{kind}": kind for kind in KINDS}
HOOKS: tuple[str, ...] = (*_REGISTER, "add_commands", "case_finished")


@dataclass(frozen=True)
class PluginRow:
    """One line of ``medldm plugins list``.

    Attributes:
        name, distribution, version, module: what is installed.
        status: ``ok``, ``error``, ``blocked``, or ``absent`` where an optional package is not installed.
        code, error: why it is not ``ok``.
        components: ``"kind/name"`` of what it registered; empty unless ``ok``.
        rejected: ``"kind/name"`` of what it tried to register before it failed, or would offer with its packages.
    """

    name: str
    distribution: str
    version: str
    module: str
    status: Status
    code: str = ""
    error: str = ""
    components: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether it is the plugin of that name, or would offer a component called so, ``name`` or ``kind/name``."""
        return name == self.name or any(name in (label, label.partition("/")[2]) for label in self.rejected)


@dataclass(frozen=True)
class Loaded:
    """A plugin's row and its implementations of the hooks that are called later."""

    row: PluginRow
    observers: dict[str, Callable[..., None]] = field(default_factory=dict)


def blocked(candidate: Candidate, reason: str) -> Loaded:
    """The row of a plugin that was not imported."""
    return Loaded(_row(candidate, "blocked", error=f"Not loaded: {reason}."))


def same_name(candidate: Candidate, first: Candidate, *, strict: bool) -> Loaded:
    """The row of a plugin whose name another one has already."""
    error = ComponentMissing(
        "E-PLG-09",
        f"The distributions {first.distribution!r} and {candidate.distribution!r} both offer a plugin named "
        f"{candidate.name!r}.",
        why=f"That of {first.distribution!r} was loaded first and keeps the name.",
        fix=f"Rename the entry point of {candidate.distribution!r}, or uninstall one of the two.",
    )
    if strict:
        raise error
    return Loaded(_failed(candidate, error))


def load(candidate: Candidate, registry: Registry, *, strict: bool) -> Loaded:
    """Import a plugin and take all of its registrations, or none.

    Args:
        candidate: what to import.
        registry: where its entries go.
        strict: raise instead of returning a row with the error.
    """
    staging = Staging(candidate.name)
    try:
        implementations = _implementations(candidate)
        _register(candidate, implementations, staging)
        if absent := staging.absent():
            return Loaded(_absent(candidate, absent, _labels(staging.entries)))
        registry.add(staging.entries)
    except MedldmError as error:
        if strict:
            raise
        return Loaded(_failed(candidate, error, _labels(staging.entries)))
    later = {name: call for name, call in implementations.items() if name not in _REGISTER}
    return Loaded(_row(candidate, "ok", components=_labels(staging.entries)), later)


def _implementations(candidate: Candidate) -> dict[str, Callable[..., None]]:
    """The plugin's hooks by name, each a function of keyword arguments."""
    try:
        module = candidate.load()
    except KeyboardInterrupt:
        raise
    # Not every way to end an import is an Exception: sys.exit, pytest.skip and others must not end medldm either.
    except BaseException as error:
        raise ComponentMissing(
            "E-PLG-01",
            f"The plugin {candidate.name!r} cannot be imported from {candidate.module!r}: {sentence(error)}",
            fix=f"Repair, update or uninstall {candidate.distribution!r}.",
        ) from error
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        # A lazy module imports what it names when it is looked at, and may fail at any of its names.
        _refuse_unknown_hooks(candidate, module, manager)
        manager.register(module, candidate.name)
        manager.check_pending()
    except (MedldmError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ComponentMissing(
            "E-PLG-04",
            f"A hook of the plugin {candidate.name!r} does not fit its specification or cannot be loaded: "
            f"{sentence(error)}",
            fix="Give it the arguments that docs/concepts/plugins.md shows, or fewer; install what it imports.",
        ) from error
    found: dict[str, Callable[..., None]] = {}
    for caller in manager.get_hookcallers(module) or []:
        for implementation in caller.get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise ComponentMissing(
                    "E-PLG-04",
                    f"The plugin {candidate.name!r} declares {caller.name!r} as a wrapper.",
                    why="Hooks of medldm are called one by one; there is nothing to wrap.",
                    fix="Use a plain @hookimpl.",
                )
            found[caller.name] = _by_keyword(implementation)
    return found


def _by_keyword(implementation: pluggy.HookImpl) -> Callable[..., None]:
    # An implementation may take fewer arguments than its specification has, so that a specification can grow.
    def call(**arguments: Any) -> None:
        implementation.function(**{name: arguments[name] for name in implementation.argnames})

    return call


def _refuse_unknown_hooks(candidate: Candidate, module: object, manager: pluggy.PluginManager) -> None:
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        hook = (options and options.get("specname")) or name
        if options is not None and hook not in HOOKS and not options.get("optionalhook"):
            raise ComponentMissing(
                "E-PLG-03",
                f"The plugin {candidate.name!r} implements the hook {hook!r}, which does not exist.",
                why=f"The closest names are {quoted(closest(hook, HOOKS))}.",
                fix="Correct the name of the function.",
            )
        if options is None and name in HOOKS and inspect.isfunction(getattr(module, name, None)):
            raise ComponentMissing(
                "E-PLG-05",
                f"The plugin {candidate.name!r} has a function {name!r} that is not marked as a hook.",
                why="It would never be called.",
                fix="Put @medldm.hookimpl above it.",
            )


def _register(candidate: Candidate, implementations: dict[str, Callable[..., None]], staging: Staging) -> None:
    for hook, kind in _REGISTER.items():
        if hook not in implementations:
            continue
        try:
            implementations[hook](register=Registrar(staging, kind))
        except (MedldmError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise ComponentMissing(
                "E-PLG-02",
                f"The hook {hook!r} of the plugin {candidate.name!r} raised {sentence(error)}",
                why="None of its registrations are used.",
                fix=f"Repair, update or uninstall {candidate.distribution!r}.",
            ) from error


def _labels(entries: list[Entry]) -> tuple[str, ...]:
    return tuple(f"{entry.kind}/{entry.name}" for entry in entries)


def _absent(candidate: Candidate, packages: dict[str, str], offered: tuple[str, ...]) -> PluginRow:
    """The row of an adapter to a package that is not installed: nothing is broken, and nothing is offered."""
    missing, commands = " and ".join(packages), "; ".join(dict.fromkeys(packages.values()))
    needing = "needs" if len(offered) == 1 else "need"
    lacking = "is" if len(packages) == 1 else "are"
    text = f"{', '.join(offered)} {needing} {missing}, which {lacking} not installed: {commands}"
    return replace(_row(candidate, "absent", text), rejected=offered)


def _failed(candidate: Candidate, error: MedldmError, rejected: tuple[str, ...] = ()) -> PluginRow:
    text = " ".join(part for part in (error.what, error.why, error.fix) if part)
    return replace(_row(candidate, "error", text), code=error.code, rejected=rejected)


def _row(candidate: Candidate, status: Status, error: str = "", components: tuple[str, ...] = ()) -> PluginRow:
    return PluginRow(
        name=candidate.name,
        distribution=candidate.distribution,
        version=candidate.version,
        module=candidate.module,
        status=status,
        error=error,
        components=components,
    )
