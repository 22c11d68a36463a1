"""Which plugins are installed, and which of them may be loaded."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GROUP = "medldm"
ALLOW = "MEDLDM_PLUGINS"
BLOCK = "MEDLDM_BLOCK_PLUGINS"
STRICT = "MEDLDM_STRICT_PLUGINS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """An installed plugin that nobody has imported yet.

    Attributes:
        name: of its entry point.
        distribution: the installed package that declares it.
        version: of the distribution.
        module: where it points to.
        load: imports it.
    """

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], Any]

    @property
    def is_first_party(self) -> bool:
        """Whether it came with medldm itself."""
        return is_first_party(self.distribution)


def is_first_party(distribution: str) -> bool:
    """Whether plugins of this distribution came with medldm itself."""
    return normalised(distribution) == GROUP


@dataclass(frozen=True)
class Admission:
    """Who may be loaded.

    Plugins shipped with medldm are always allowed. Others are allowed when there is no allow-list, or when it
    holds the name of their entry point or of their distribution; an empty allow-list admits first-party plugins
    only. A blocked name is never imported, first-party or not.

    Attributes:
        allow: names, or None for everybody.
        block: names.
    """

    allow: frozenset[str] | None
    block: frozenset[str]

    @classmethod
    def of(cls, allow: Sequence[str] | None, block: Sequence[str], environ: Mapping[str, str]) -> Admission:
        """From the arguments and the environment: an ``allow`` given here replaces the variable, ``block`` adds."""
        if allow is None and ALLOW in environ:
            allow = environ[ALLOW].split(",")
        blocked = [*block, *environ.get(BLOCK, "").split(",")]
        return cls(None if allow is None else _names(allow), _names(blocked))

    def refusal(self, candidate: Candidate) -> str:
        """Why it may not be loaded; empty when it may."""
        names = {normalised(candidate.name), normalised(candidate.distribution)}
        if names & self.block:
            return "blocked by name"
        if self.allow is not None and not candidate.is_first_party and not names & self.allow:
            return "not on the allow-list"
        return ""

    def warn_of_unknown(self, candidates: Sequence[Candidate]) -> None:
        """Log the names on either list that no installed plugin has: a misspelt block would block nobody."""
        known = {normalised(n) for c in candidates for n in (c.name, c.distribution)}
        for label, names in (("allow-list", self.allow or frozenset()), ("block-list", self.block)):
            for name in sorted(names - known):
                _log.warning("the %s names the plugin %r, which is not installed", label, name)


def strict(environ: Mapping[str, str]) -> bool:
    """Whether a broken plugin raises instead of becoming a row."""
    return environ.get(STRICT, "") not in ("", "0")


def normalised(name: str) -> str:
    """A name in the form in which names are compared (PyPA: name normalisation)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _names(names: Sequence[str]) -> frozenset[str]:
    return frozenset(normalised(name) for name in names if name.strip())


def installed() -> list[Candidate]:
    """All plugins of the environment: first-party ones first, the others by distribution and name.

    The order decides who keeps a name that two plugins want, so it must not depend on the search path.
    """
    found = list(_declared())
    return sorted(found, key=lambda c: (not c.is_first_party, normalised(c.distribution), c.name))


def _declared() -> Iterator[Candidate]:
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        # One unreadable entry_points.txt of an unrelated package would make importlib.metadata.entry_points fail
        # for everybody, so each distribution is read alone, and only where it speaks of medldm.
        try:
            if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name = distribution.metadata["Name"] or "unknown"
            if normalised(name) in seen:
                continue
            seen.add(normalised(name))
            points = [point for point in distribution.entry_points if point.group == GROUP]
            version = distribution.version or "unknown"
        except Exception:
            _log.warning("a distribution with medldm plugins has unreadable metadata and is ignored", exc_info=True)
            continue
        for point in points:
            yield Candidate(point.name, name, version, point.value, point.load)


def environment() -> Mapping[str, str]:
    """The process environment."""
    return os.environ
