"""From rows to an index that knows what is done: by the manifests of finished results, whatever the index said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medldm.batch.fingerprint import fingerprint
from medldm.batch.finished import manifests, occupied, read_manifest_of
from medldm.batch.index import Index, Scan
from medldm.batch.job import plan_of, weights_hash
from medldm.batch.retry import LOST
from medldm.batch.row import Row
from medldm.batch.settings import Settings, as_order
from medldm.batch.source import Source
from medldm.batch.workplace import Workplace, opened
from medldm.errors import UsageError
from medldm.host import Host
from medldm.pipeline.recipe import Recipe

_SHOWN = 5
# How often more than its attempts a scan may have been in work when the whole program ended.
_MORE_CRASHES = 2


@dataclass
class Recipes:
    """The recipes of a batch, each resolved once.

    Raises:
        MedldmError: one is not valid, or its prior is not there.
    """

    host: Host
    settings: Settings
    _found: dict[tuple[str, tuple[str, ...]], tuple[Recipe, str]] = field(default_factory=dict)

    def of(self, row: Row) -> tuple[Recipe, str]:
        """Recipe and hash of its weights."""
        key = row.recipe, row.set
        if key not in self._found:
            recipe = self.settings.recipe_of(row)
            for kind, name in (("operators", recipe.physics), ("solvers", str(recipe.solver["name"]))):
                self.host.find(kind, name)  # type: ignore[arg-type]
            self._found[key] = recipe, weights_hash(self.host, recipe)
        return self._found[key]

    def plan(self, row: Row) -> dict[str, Any]:
        """The job of a row without the content of its input."""
        recipe, weights = self.of(row)
        return plan_of(self.settings, row, recipe, weights)

    def order(self, row: Row) -> Mapping[str, Any]:
        """The row's recipe as it travels to a worker."""
        return as_order(self.of(row)[0])


def cost_of(recipe: Recipe, size: int) -> float:
    """Bytes of the input times what the solver does to them: enough to put short scans first."""
    steps = next((recipe.solver[key] for key in ("steps", "iterations") if key in recipe.solver), 20)
    return float(size) * (steps if isinstance(steps, int) else 20) * recipe.samples


def plan_batch(index: Index, place: Workplace, settings: Settings, rows: Sequence[Row], recipes: Recipes) -> None:
    """Bring the index up to date with the rows, the manifests and the inputs as they are now.

    Raises:
        UsageError: E-BAT-08 results of other jobs are in the way.
    """
    before = {scan.key: scan for scan in index.scans()}
    common = [settings.as_json(), sorted({json.dumps(recipes.plan(row), sort_keys=True) for row in rows})]
    same = index.fact("common") == common
    named = {} if not settings.anonymous else _by_mark(place)
    lines, changes, in_the_way = [], [], []
    for number, row in enumerate(rows, 1):
        now = fingerprint(recipes.host, row.input, row.truth)
        old = before.get(row.key)
        name = row.output or named.get(_address(now.mark, recipes.plan(row)), "")
        lines.append((row.key, number, name, json.dumps(row.as_dict()), cost_of(recipes.of(row)[0], now.bytes)))
        fields = {"mark": now.mark, "name": name}
        finished = _finished(place, name, old, now.mark, recipes.plan(row), trusting=same)
        if finished is not None:
            if old is None or old.state != finished["state"] or old.mark != now.mark:
                changes.append((row.key, {**fields, **finished}))
        elif _taken(place, name, recipes.plan(row), settings):
            in_the_way.append(name)
        else:
            changes.append((row.key, {**fields, **_unfinished(old, now.mark, settings, same=same)}))
    if in_the_way:
        more = f" and {len(in_the_way) - _SHOWN} more" if len(in_the_way) > _SHOWN else ""
        raise UsageError(
            "E-BAT-08",
            f"{len(in_the_way)} outputs are there already, of another recipe, prior or version, or of no batch: "
            f"{', '.join(in_the_way[:_SHOWN])}{more}.",
            why="Results are never overwritten in silence, and files of others never deleted.",
            fix="Choose another output folder, or add --overwrite to replace those of batches.",
        )
    index.replace_all(lines)
    index.update_many(changes)
    index.set_fact("common", common)
    index.set_fact("settings", settings.as_json())


def _finished(
    place: Workplace, name: str, old: Scan | None, mark: str, plan: Mapping[str, Any], *, trusting: bool
) -> dict[str, Any] | None:
    """What the index is to say of a result that is there and is the one wanted; None otherwise."""
    if not name:
        return None
    folder = place.record_folder(name)
    if trusting and old is not None and old.state in ("done", "gate-failed") and old.mark == mark:
        return {"state": old.state} if (folder / "manifest.json").is_file() else None
    found = read_manifest_of(folder)
    if found is None or found["plan"] != plan or found["input"]["mark"] != mark:
        return None
    failed = found["state"] == "gate-failed"
    told = {"code": "E-GATE-02", "reason": " ".join(found["reasons"])} if failed else {"code": "", "reason": ""}
    return {"state": found["state"], "job": found["job"], **told}


def _taken(place: Workplace, name: str, plan: Mapping[str, Any], settings: Settings) -> bool:
    """Whether something lies where the result is to go that must stay. A scan that changed is left to its worker."""
    if not name:
        return False
    if any(read_manifest_of(place.record_folder(str(parent))) for parent in PurePosixPath(name).parents[:-1]):
        return True  # it would lie inside another result
    if not occupied(place.record_folder(name)):
        return False
    found = read_manifest_of(place.record_folder(name))
    return found is None or (found["plan"] != plan and not settings.overwrite)


def _unfinished(old: Scan | None, mark: str, settings: Settings, *, same: bool) -> dict[str, Any]:
    if old is None or not same or old.mark != mark:
        return {"state": "waiting", "attempts": 0, "crashes": 0, "level": 0, "code": "", "reason": ""}
    if old.state == "failed":
        return {"state": "failed"}
    if old.state != "running":
        return {"state": "waiting"}
    # The coordinator died while it was in work: perhaps of it. It comes after all others.
    crashes = old.crashes + 1
    if crashes < settings.attempts + _MORE_CRASHES:
        return {"state": "waiting", "crashes": crashes}
    reason = f"The program ended {crashes} times while this scan was in work."
    return {"state": "failed", "crashes": crashes, "code": LOST, "reason": reason}


def _by_mark(place: Workplace) -> dict[str, str]:
    return {_address(found["input"]["mark"], found["plan"]): name for name, found in manifests(place)}


def _address(mark: str, plan: Mapping[str, Any]) -> str:
    return f"{mark} {json.dumps(dict(plan), sort_keys=True)}"


def begun_before(out: Path) -> tuple[Source, Settings]:
    """Rows and settings of a batch that was begun, from its index.

    Raises:
        UsageError: E-BAT-12 it is none, or its index is gone.
    """
    place = opened(out)
    if not place.index_file.is_file():
        raise UsageError(
            "E-BAT-12",
            f"The index of {out} is gone.",
            why="It held which scans there are and how to reconstruct them.",
            fix="Run the batch again with its first command: what is finished is not done again.",
        )
    with closing(Index(place.index_file)) as index:
        rows = [Row.from_dict(json.loads(scan.row)) for scan in index.scans()]
        source, settings = index.fact("source"), index.fact("settings")
    return Source(Path(source), rows, bids=place.bids), Settings.from_json(settings)
