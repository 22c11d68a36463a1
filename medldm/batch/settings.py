"""What holds for all scans of a batch; kept with it, so that ``retry`` needs nothing but the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medldm.batch.row import Row
from medldm.data import ReadRequest
from medldm.data.volume import Modality
from medldm.pipeline.recipe import Recipe, load_recipe


@dataclass(frozen=True)
class Settings:
    """Of a batch.

    Attributes:
        recipe: name, or absolute path.
        set: assignments that change it.
        classical: take its classical solver.
        simulate: measure images first.
        slices, untilt, allow_gaps, assume_orientation, modality: as ``medldm reconstruct`` takes them, for every scan.
        device: as ``medldm reconstruct`` takes it.
        anonymous: results are named by their hash, and nothing that is told or written names an input.
        attempts: how often a scan is begun before it is given up.
        backoff: seconds before the second attempt; doubled for each one after it.
        time_limit: seconds for one scan; None for no limit.
        memory_limit: bytes for one scan; None for what is free.
        save_every: seconds between two saves of a scan's state; None for every minute.
        overwrite: replace results of other recipes, weights or versions.
        allow, block: plugins, as ``--plugins`` and ``--no-plugin`` name them.
    """

    recipe: str = "mri-4x"
    set: tuple[str, ...] = ()
    classical: bool = False
    simulate: bool = False
    slices: tuple[int | None, int | None] | None = None
    untilt: bool = False
    allow_gaps: Literal["resample"] | None = None
    assume_orientation: str | None = None
    modality: Modality | None = None
    device: str = "auto"
    anonymous: bool = False
    attempts: int = 3
    backoff: float = 1.0
    time_limit: float | None = None
    memory_limit: int | None = None
    save_every: float | None = None
    overwrite: bool = False
    allow: tuple[str, ...] | None = None
    block: tuple[str, ...] = ()

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What :meth:`as_json` gave."""
        fields: dict[str, Any] = json.loads(text)
        lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
        return cls(**{**fields, **lists})

    def recipe_of(self, row: Row) -> Recipe:
        """The resolved recipe of a row."""
        return load_recipe(row.recipe or self.recipe, [*self.set, *row.set], classical=self.classical)

    def request_of(self, row: Row) -> ReadRequest:
        """What is asked of the reader for a row."""
        request = ReadRequest(
            series=row.series,
            volume_index=row.volume_index,
            untilt=self.untilt,
            allow_gaps=self.allow_gaps,
            assume_orientation=self.assume_orientation,
            modality=row.modality or self.modality,
        )
        return request if self.memory_limit is None else replace(request, max_bytes=self.memory_limit)


def named(recipe: str) -> str:
    """A recipe's name, or the absolute path of its file: workers may run elsewhere."""
    return str(Path(recipe).absolute()) if recipe.endswith((".yaml", ".yml")) else recipe


def as_order(recipe: Recipe) -> Mapping[str, Any]:
    """A recipe as plain JSON that travels to a worker, see :func:`medldm.pipeline.recipe.from_mapping`."""
    return {"name": recipe.name, "sections": recipe.as_dict()}
