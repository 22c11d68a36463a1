"""``medldm benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.failure import when_interrupted
from medldm.cli.session import finish, session_of

# Of the columns of the results, those that fit a terminal.
_SHOWN = ("recipe", "method", "n", "PSNR dB", "dz-ratio", "chi", "solve s")


def command(
    context: typer.Context,
    suite: Annotated[Path, typer.Argument(help="Suite file, or the name of a shipped suite.")],
    data: Annotated[Path, typer.Option("--data", help="Folder below which the suite's scans lie.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.csv, .json, .md and pictures.")],
    device: options.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows of an earlier run in OUT.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this recipe or case. May be repeated.")] = None,
    slices: Annotated[
        int | None, typer.Option("--slices", min=1, help="So many slices from the middle of every case.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run methods x cases x seeds, all on the same measurements, and print one table.

    Examples:
        medldm benchmark public --data scans/ -o results

        medldm benchmark my-suite.yaml --data scans/ -o results --only ct-20-views --resume

        medldm benchmark public --data scans/ -o few --slices 8
    """

    def work() -> None:
        import json
        import sys
        from dataclasses import asdict

        from rich.table import Table

        from medldm.cli.reporter import Reporter
        from medldm.errors import MedldmError, UsageError
        from medldm.host.shipped import shipped
        from medldm.pipeline.events import Teller
        from medldm.pipeline.suite import load_suite, read_rows, run_suite, still_asked
        from medldm.pipeline.suite_pictures import SuitePictures
        from medldm.pipeline.suite_selection import selected
        from medldm.pipeline.suite_table import as_csv, markdown, per_case, summary
        from medldm.pipeline.suite_table import as_json as rows_as_json

        path = suite if suite.suffix in (".yaml", ".yml") else shipped("configs") / "suites" / f"{suite}.yaml"
        plan = selected(load_suite(path), only or [])
        if not data.is_dir():
            raise UsageError("E-SUI-04", f"There is no folder {data}.", fix="Give the folder of the scans as --data.")
        try:
            out.mkdir(parents=True, exist_ok=True)
            log = out / "rows.ndjson"
            rows = still_asked(plan, read_rows(log), slices) if resume else []
            log.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
            pictures = SuitePictures(out / "pictures")
            with (
                when_interrupted(
                    lambda: "Interrupted; finished rows are kept. The same command with --resume goes on."
                ),
                Reporter(as_json=as_json, quiet=quiet) as reporter,
                log.open("a", encoding="utf-8") as file,
            ):
                for row in run_suite(
                    session_of(context).host(),
                    plan,
                    data,
                    Teller((reporter,)),
                    done=rows,
                    device=device,
                    middle=slices,
                    look=pictures.keep,
                ):
                    rows.append(row)
                    file.write(json.dumps(asdict(row)) + "\n")
                    file.flush()
            header, lines = summary(rows)
            (out / "results.csv").write_text(as_csv(rows), encoding="utf-8")
            (out / "results.json").write_text(rows_as_json(rows), encoding="utf-8")
            sheets = "".join(f"\n![{sheet.stem}](pictures/{sheet.name})\n" for sheet in pictures.draw(rows))
            (out / "results.md").write_text(
                f"# {plan.title}\n\n{markdown(header, lines)}\n{markdown(*per_case(rows))}{sheets}", encoding="utf-8"
            )
        except OSError as error:
            raise UsageError(
                "E-OUT-04", f"{out} cannot be written: {error.strerror}.", fix="Choose another folder."
            ) from error
        if as_json:
            sys.stdout.write(rows_as_json(rows))
        else:
            shown = [number for number, title in enumerate(header) if title in _SHOWN]
            table = Table(title=plan.title, caption="SIMULATED measurements; research use only")
            for number in shown:
                name = header[number] in ("recipe", "method")  # whole
                table.add_column(header[number], overflow="fold", no_wrap=name, justify="left" if name else "right")
            for line in lines:
                table.add_row(*(line[number] for number in shown))
            reporter.console.print(table)
            where = f"every figure and a picture of every scan: {out / 'results.md'}"
            reporter.console.print(where, highlight=False, markup=False, soft_wrap=True)
        failed = sum(bool(row.error) for row in rows)
        if failed:
            raise MedldmError(
                "E-SUI-05", f"{failed} of {len(rows)} rows failed.", fix="Their errors stand in results.csv."
            )

    finish(work, as_json=as_json, verbose=verbose)
