"""``medldm evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of


def command(
    context: typer.Context,
    reconstruction: Annotated[Path, typer.Argument(help="Image, or output folder of `medldm reconstruct`.")],
    truth: Annotated[Path, typer.Option("--truth", help="Reference image.")],
    modality: options.Modality = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare an image with the truth, voxel by voxel, on the truth's own scale.

    Examples:
        medldm evaluate out/reconstruction.nii.gz --truth brain.nii.gz

        medldm evaluate out --truth ct-folder --json
    """

    def work() -> None:
        import json
        import sys

        from rich.console import Console
        from rich.table import Table

        from medldm.cli.tables import ordered
        from medldm.pipeline.evaluate import evaluate

        metrics = evaluate(
            reconstruction, truth, read=options.read_request(modality=modality), host=session_of(context).host()
        )
        if as_json:
            sys.stdout.write(json.dumps({"event": "metrics", **metrics}) + "\n")
            return
        table = Table("metric", "value", caption="Research use only")
        for name in ordered(list(metrics)):
            table.add_row(name, f"{metrics[name]:.5g}")
        Console().print(table)

    finish(work, as_json=as_json, verbose=verbose)
