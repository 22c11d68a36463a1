"""``medldm batch run --dry-run``: which scans, which names, and the script of Slurm's jobs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medldm.batch.batch import Workforce
from medldm.batch.cluster import require_cluster
from medldm.batch.fingerprint import fingerprint
from medldm.batch.manifest_file import write_manifest
from medldm.batch.planning import Recipes
from medldm.batch.settings import Settings
from medldm.batch.source import Source
from medldm.errors import UsageError
from medldm.host import Host
from medldm.pipeline.output import require_outside

_SHOWN = 20


def show_plan(
    host: Host,
    source: Source,
    out: Path,
    settings: Settings,
    workforce: Workforce,
    manifest: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what would run; refused like the run itself."""
    require_outside(out, source.path)
    recipes = Recipes(host, settings)
    for row in source.rows:
        recipes.of(row)
    script = None
    if workforce.cluster == "slurm":
        require_cluster()
        from medldm.batch.slurm import job_script

        script = job_script(workforce.slurm)
    if manifest is not None:
        try:
            write_manifest(manifest, source.rows)
        except OSError as error:
            raise UsageError(
                "E-OUT-04", f"{manifest} cannot be written: {error.strerror}.", fix="Choose another file."
            ) from error
    if as_json:
        rows = [row.as_dict() for row in source.rows]
        left = [{"path": str(one.path), "code": one.code, "reason": one.reason} for one in source.left_out]
        told = {"rows": rows, "left_out": left, "not_included": source.not_included, "script": script}
        sys.stdout.write(json.dumps({"event": "plan", **told}) + "\n")
        return
    console = Console()
    table = Table(title=f"{len(source.rows)} scans by {settings.recipe}")
    for heading in ("input", "series", "size", "output"):
        table.add_column(heading, overflow="fold")
    base = source.path if source.path.is_dir() else source.path.parent
    for row in source.rows[:_SHOWN]:
        size = f"{fingerprint(host, row.input).bytes / 2**20:.1f} MiB"
        shown = row.input.relative_to(base) if row.input.is_relative_to(base) else row.input
        table.add_row(escape(str(shown)), row.series or "", size, escape(row.output or "(hash of the job)"))
    console.print(table)
    if len(source.rows) > _SHOWN:
        console.print(f"and {len(source.rows) - _SHOWN} more", highlight=False)
    for one in source.left_out[:_SHOWN]:
        console.print(f"left out: {one.code} {escape(str(one.path))}: {escape(one.reason)}", highlight=False)
    if source.omitted:
        console.print(source.omitted, highlight=False)
    if script is not None:
        console.print(f"{workforce.workers or 1} times this job:", highlight=False)
        sys.stdout.write(script + "\n")
