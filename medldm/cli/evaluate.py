"""``medldm evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    reconstruction: Annotated[
        Path, typer.Argument(help="Image, or output folder of `medldm reconstruct`.", readable=False)
    ],
    truth: Annotated[Path, typer.Option("--truth", help="Reference image.", readable=False)],
    slices: Annotated[
        str | None, typer.Option("--slices", help="Range along z of the truth, for example 40:60.")
    ] = None,
    modality: options.Modality = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare an image with the truth, voxel by voxel, on the truth's own scale.

    An output folder of several samples has its spread compared with the error too. Decibels of an exact match are
    infinite, which JSON writes as "inf".

    Examples:
        medldm evaluate out/reconstruction.nii.gz --truth brain.nii.gz

        medldm evaluate out --truth ct-folder --json
    """

    def work() -> None:
        import json
        import math
        import sys

        from rich.console import Console
        from rich.table import Table

        from medldm.cli.tables import ordered, print_calibration
        from medldm.pipeline.evaluate import evaluate, evaluate_spread

        host, read, cut = (
            session_of(context).host(),
            options.read_request(modality=modality),
            options.slice_range(slices),
        )
        metrics = evaluate(reconstruction, truth, read=read, slices=cut, host=host)
        calibration = evaluate_spread(reconstruction, truth, read=read, slices=cut, host=host)
        if as_json:
            found = {"calibration": calibration} if calibration else {}
            told = {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}
            sys.stdout.write(json.dumps({"event": "metrics", **told, **found}, allow_nan=False) + "\n")
            return
        table = Table("metric", "value", caption="Research use only")
        for name in ordered(list(metrics)):
            table.add_row(name, f"{metrics[name]:.5g}")
        console = Console()
        console.print(table)
        if calibration:
            print_calibration(console, calibration)

    finish(work, as_json=as_json, verbose=verbose)
