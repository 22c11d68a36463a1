"""``medldm demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of

# Sample below sample_data, recipe, and the writers to show.
_RUNS = (
    ("brain-t1w.nii.gz", "mri-4x", "MR", "[nifti]"),
    ("chest-ct", "ct-60-views", "CT", "[nifti, dicom]"),
)
# Of the recipes' 50 steps, for a demonstration.
_STEPS = 20


def command(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")] = Path("medldm-demo"),
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct the two phantoms that come with medldm: a brain MR and a chest CT, with priors.

    About two minutes on two cores; reconstruct takes the 50 steps of the recipes, the demo 20.

    Example:
        medldm demo
    """

    def work() -> None:
        import json
        import sys

        from rich.table import Table

        from medldm.cli.reporter import Reporter
        from medldm.cli.tables import main_metrics
        from medldm.data import ReadRequest
        from medldm.errors import UsageError
        from medldm.host.shipped import shipped
        from medldm.pipeline.reconstruct import reconstruct
        from medldm.report import report_page

        host = session_of(context).host()
        taken = [out / recipe for _, recipe, _, _ in _RUNS if (out / recipe).exists()]
        if taken and not overwrite:
            raise UsageError("E-OUT-03", f"{taken[0]} exists.", fix="Choose another folder, or add --overwrite.")
        table = Table(title="medldm demo, SIMULATED measurements of phantoms", caption="Research use only")
        for title in ("recipe", "image"):  # whole, in a terminal of 80 columns
            table.add_column(title, no_wrap=True)
        records: dict[str, object] = {}
        names: list[str] = []
        with Reporter(as_json=as_json, quiet=quiet) as reporter:
            for sample, recipe, modality, writers in _RUNS:
                result = reconstruct(
                    shipped("sample_data") / sample,
                    out / recipe,
                    recipe=recipe,
                    simulate=True,
                    set_=[f"outputs.write={writers}", f"solver.steps={_STEPS}"],
                    read=ReadRequest(modality="MR" if modality == "MR" else "CT"),
                    overwrite=overwrite,
                    host=host,
                    listeners=[reporter],
                    pages=[report_page],
                )
                metrics = result.record["metrics"]
                if not names:
                    names = main_metrics(metrics["reconstruction"])
                    for name in names:
                        table.add_column(name, justify="right")
                    table.add_column("s", justify="right")
                seconds = f"{sum(result.record['seconds'].values()):.1f}"
                for image, values in metrics.items():
                    cells = [f"{values[name]:.4g}" if name in values else "" for name in names]
                    last = seconds if image == "reconstruction" else ""
                    table.add_row(recipe, image, *cells, last)
                records[recipe] = result.record
        if as_json:
            sys.stdout.write(json.dumps({"event": "demo", "records": records}) + "\n")
            return
        reporter.console.print(table)
        reporter.console.print("Look at:", highlight=False)
        for _, recipe, _, _ in _RUNS:
            reporter.console.print(f"  {out / recipe / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
        reporter.console.print(
            "The images are beside them: reconstruction.nii.gz, and a DICOM series for the CT; run.json tells all.",
            highlight=False,
        )

    finish(work, as_json=as_json, verbose=verbose)
