"""A recipe: which physics, start, solver and outputs, as YAML 1.2 that a person can read."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from medldm.errors import UsageError
from medldm.host.shipped import shipped
from medldm.host.yaml_file import parse_scalar, read_mapping

Section = Mapping[str, Any]
# Sections that may be left out in words: `prior: none` is `prior: {}`.
NONE = "none"
_MAY_BE_NONE = ("prior", "classical", "coherence")


@dataclass(frozen=True)
class Recipe:
    """One way of measuring and reconstructing. Sections are validated by the component they go to.

    Attributes:
        name: file name without its ending.
        acquisition: ``physics`` and its options of measuring; the noise, the mask, the views.
        operator: options of the physics that concern the reconstruction only (``maps``), and ``grid``.
        likelihood: ``name`` and options of the noise model.
        start: ``solver`` and its options, or empty for the start image of the physics. ``image: real`` tells the solver
            the phase of complex images, as the physics finds it.
        prior: ``name`` or folder of a prior, how it is used, and facts told to it; empty, or ``none``, for classical
            solvers. See :class:`medldm.pipeline.prior_section.PriorSection`.
        solver: ``name`` and the hyper-parameters.
        classical: ``name`` and options of the best classical solver, which a prior is tried against, see
            :mod:`medldm.pipeline.trial`, and ``image`` as above; empty, or ``none``, tries none.
        coherence: ``noise`` and ``coupling``, how slices are held together, or ``none``; see
            :class:`medldm.inference.Coherence`.
        run: ``seed`` and ``samples``.
        outputs: ``write`` (names of writers), ``maps`` (of uncertainty, all that there are by default), ``report``
            (true unless said otherwise), ``gates`` and ``interval``, whose ``model_error`` all samples share.
    """

    name: str
    acquisition: Section
    solver: Section
    operator: Section = field(default_factory=dict)
    likelihood: Section = field(default_factory=dict)
    start: Section = field(default_factory=dict)
    prior: Section = field(default_factory=dict)
    classical: Section = field(default_factory=dict)
    coherence: Section = field(default_factory=dict)
    run: Section = field(default_factory=dict)
    outputs: Section = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require("acquisition", "physics")
        self._require("solver", "name")
        if self.start:
            self._require("start", "solver")
        if self.classical:
            self._require("classical", "name")
        for section in ("start", "classical"):
            image = getattr(self, section).get("image", "complex")
            if image not in ("complex", "real"):
                raise UsageError("E-RCP-05", f"{section}.image is {image!r}; it is complex or real.", fix="image: real")
        known_keys("coherence", self.coherence, ("noise", "coupling"))
        known_keys("run", self.run, ("seed", "samples"))
        known_keys("outputs", self.outputs, ("write", "maps", "report", "gates", "interval"))
        for key in ("gates", "interval"):
            if not isinstance(self.outputs.get(key, {}), Mapping):
                raise UsageError(
                    "E-RCP-07",
                    f"outputs.{key} of the recipe {self.name!r} is {self.outputs[key]!r}, not a mapping.",
                    fix=f"Write {key}: {{key: value}} under outputs, or leave it out.",
                )
        known_keys("outputs.interval", self.outputs.get("interval", {}), ("model_error",))
        known_keys("outputs.gates", self.outputs.get("gates", {}), ("chi_max",))
        for key, least in (("seed", 0), ("samples", 1)):
            value = self.run.get(key, least)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(
                    "E-RCP-05",
                    f"run.{key} is {value!r}; it must be a whole number, at least {least}.",
                    fix=f"For example: --set run.{key}={least + 1}",
                )
        if not isinstance(self.outputs.get("report", True), bool):
            raise UsageError(
                "E-RCP-05",
                f"outputs.report is {self.outputs['report']!r}; it is true or false.",
                fix="For example: --set outputs.report=false",
            )
        chi_max = self.outputs.get("gates", {}).get("chi_max", 1.0)
        if isinstance(chi_max, bool) or not isinstance(chi_max, (int, float)) or not chi_max > 0:
            raise UsageError(
                "E-RCP-05",
                f"outputs.gates.chi_max is {chi_max!r}; it must be a positive number.",
                fix="For example: --set outputs.gates.chi_max=1.2",
            )

        error = self.outputs.get("interval", {}).get("model_error", 0.0)
        if isinstance(error, bool) or not isinstance(error, (int, float)) or not 0 <= error < float("inf"):
            raise UsageError(
                "E-RCP-05",
                f"outputs.interval.model_error is {error!r}; it must be a number, zero or positive.",
                why="It is the error that all samples share, in units of the prior's model values.",
                fix="For example: --set outputs.interval.model_error=0.01",
            )

    def _require(self, section: str, key: str) -> None:
        if key not in getattr(self, section):
            raise UsageError(
                "E-RCP-04",
                f"The recipe {self.name!r} has no {section}.{key}.",
                fix="medldm recipes show mri-4x prints a whole recipe.",
            )

    @property
    def seed(self) -> int:
        """Seed of all randomness of the run."""
        return int(self.run.get("seed", 0))

    @property
    def samples(self) -> int:
        """How many reconstructions to draw; 1 for deterministic solvers."""
        return int(self.run.get("samples", 1))

    @property
    def model_error(self) -> float:
        """Of the intervals: standard deviation of the error that all samples share, in the prior's model values."""
        return float(self.outputs.get("interval", {}).get("model_error", 0.0))

    @property
    def physics(self) -> str:
        """Registered name of the physics."""
        return str(self.acquisition["physics"])

    def physics_options(self) -> dict[str, Any]:
        """The options of the physics: those of measuring, of the operator and of the noise model."""
        options = {key: value for key, value in self.acquisition.items() if key != "physics"}
        extra = {key: value for key, value in self.operator.items() if key != "grid"}
        twice = sorted(set(options) & set(extra))
        if twice:
            raise UsageError(
                "E-RCP-06",
                f"The recipe {self.name!r} sets {twice} both under acquisition and under operator.",
                fix="Keep one of them.",
            )
        options |= extra
        if self.likelihood:
            options["likelihood"] = dict(self.likelihood)
        return options

    def solver_options(self) -> dict[str, Any]:
        """The hyper-parameters of the solver."""
        return {key: value for key, value in self.solver.items() if key != "name"}

    @property
    def starts_at_classical(self) -> bool:
        """Whether the start image is what the classical solver makes, so that nothing is left for that one to do."""
        made = {"solver" if key == "name" else key: value for key, value in self.classical.items()}
        return bool(made) and self.start == made

    def without_prior(self) -> Recipe:
        """The recipe with its classical solver in place of the one that needs a prior.

        Where the start image is that solver's already, it begins at the start image of the physics, as that one did.
        One that names neither a prior nor a classical solver is classical as it is.

        Raises:
            UsageError: E-RCP-04 it names no classical solver.
        """
        if not self.prior and not self.classical:
            return self
        self._require("classical", "name")
        start = {} if self.starts_at_classical else self.start
        solver = {"name": self.classical["name"], **options_of(self.classical)}
        image = {"image": self.classical["image"]} if "image" in self.classical else {}
        # The grid of a prior goes with it.
        operator = {key: value for key, value in self.operator.items() if (key, value) != ("grid", "prior")} | image
        return replace(self, operator=operator, solver=solver, classical={}, prior={}, coherence={}, start=start)

    def as_dict(self) -> dict[str, Any]:
        """The resolved recipe, plain dictionaries and numbers only."""
        sections = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "name"}
        return {name: section for name, section in sections.items() if section}

    @property
    def sha256(self) -> str:
        """Hash of the resolved recipe; its name and comments do not enter."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def changed(self, assignments: Sequence[str]) -> Recipe:
        """The recipe with ``section.key=value``, or ``section={...}``, applied, as ``--set`` gives them.

        Another ``solver.name`` drops the options of the solver that was there, which are not its own.
        """
        sections: dict[str, Any] = self.as_dict()
        for assignment in sorted(assignments, key=lambda one: one.partition("=")[0].strip() != "solver.name"):
            path, equals, text = assignment.partition("=")
            keys = path.strip().split(".")
            if len(keys) == 1 and keys[0] in _MAY_BE_NONE and text.strip() == NONE:
                sections[keys[0]] = {}
                continue
            if equals and len(keys) == 1 and isinstance(whole := parse_scalar(text), Mapping):
                # Another solver has other options: the section is replaced, not merged.
                known_keys("recipe", {keys[0]: None}, SECTIONS)
                sections[keys[0]] = _plain(whole)
                continue
            if not equals or len(keys) < 2 or not all(keys):
                raise UsageError(
                    "E-RCP-03",
                    f"--set {assignment!r} is not of the form section.key=value.",
                    fix="For example: --set solver.iterations=50",
                )
            known_keys("recipe", {keys[0]: None}, SECTIONS)
            node = sections.setdefault(keys[0], {})
            for key in keys[1:-1]:
                node = node.setdefault(key, {})
                if not isinstance(node, dict):
                    raise UsageError("E-RCP-03", f"--set {path}: {key!r} is a value, not a section.")
            value = parse_scalar(text)
            if keys == ["solver", "name"] and value != node.get("name"):
                node.clear()
            node[keys[-1]] = value
        return from_mapping(self.name, sections)


SECTIONS = tuple(f.name for f in fields(Recipe) if f.name != "name")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def options_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """The hyper-parameters of the solver that ``start`` or ``classical`` names."""
    return {key: value for key, value in section.items() if key not in ("solver", "name", "image")}


def known_keys(where: str, section: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse keys of a section that are not among ``names``, with the closest match.

    Raises:
        UsageError: E-RCP-02.
    """
    for key in section:
        if key not in names:
            close = difflib.get_close_matches(str(key), names, n=1)
            raise UsageError(
                "E-RCP-02",
                f"Unknown key {key!r} in {where}; known are {', '.join(names)}.",
                why="A misspelt option would otherwise be ignored in silence.",
                fix=f"Did you mean {close[0]!r}?" if close else "Remove it.",
            )


def from_mapping(name: str, mapping: Mapping[str, Any]) -> Recipe:
    """Build a recipe from nested dictionaries; unknown sections are refused by name."""
    known_keys("recipe", mapping, SECTIONS)
    for section in ("acquisition", "solver"):
        if section not in mapping:
            raise UsageError(
                "E-RCP-04",
                f"The recipe {name!r} has no section {section!r}.",
                fix="medldm recipes show mri-4x prints a whole recipe.",
            )
    mapping = {key: {} if key in _MAY_BE_NONE and part == NONE else part for key, part in mapping.items()}
    for section, content in mapping.items():
        if not isinstance(content, Mapping):
            raise UsageError(
                "E-RCP-07",
                f"Section {section!r} of the recipe {name!r} is {content!r}, not a mapping.",
                fix=f"Write {section}: {{key: value}}.",
            )
    return Recipe(name, **{key: _plain(value) for key, value in mapping.items()})


def load_recipe(name_or_path: str | Path, assignments: Sequence[str] = (), *, classical: bool = False) -> Recipe:
    """Load a shipped recipe by name, or one of your own by its path, and apply ``--set`` assignments.

    Args:
        name_or_path: of the recipe.
        assignments: ``section.key=value``.
        classical: without the prior, see :meth:`Recipe.without_prior`; ``solver`` is then the classical solver to the
            assignments too.

    Raises:
        UsageError: ``E-RCP-..``.
    """
    path = recipe_path(name_or_path)
    recipe = from_mapping(path.stem, read_mapping(path))
    if not classical:
        return recipe.changed(assignments)
    # The start image is compared with the classical solver, and left out where that one makes it.
    choosing = [one for one in assignments if one.strip().startswith(("classical", "start"))]
    return recipe.changed(choosing).without_prior().changed([one for one in assignments if one not in choosing])


def recipe_path(name_or_path: str | Path) -> Path:
    """The file of a shipped recipe or of the path given."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UsageError("E-RCP-01", f"There is no recipe file {path}.", fix="Check the path.")
        return path
    known = {file.stem: file for file in shipped_recipes()}
    if str(name_or_path) not in known:
        close = difflib.get_close_matches(str(name_or_path), known, n=3)
        raise UsageError(
            "E-RCP-01",
            f"There is no recipe {str(name_or_path)!r}.",
            why=f"Shipped recipes are {', '.join(sorted(known))}; your own are named by a path ending in .yaml.",
            fix=f"Did you mean {' or '.join(close)}?" if close else "medldm recipes list",
        )
    return known[str(name_or_path)]


def shipped_recipes() -> list[Path]:
    """The recipe files that come with medldm."""
    return sorted(shipped("configs").glob("*.yaml"))
