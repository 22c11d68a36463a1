"""``medldm priors``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of

if TYPE_CHECKING:
    from medldm.testing.checks import CheckRow

app = typer.Typer(help="List, show, check and import priors.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a prior, or the path of its folder.")]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the priors that are found by name: those of MEDLDM_PRIORS, then those that come with medldm.

    MEDLDM_PRIORS names folders that hold prior folders, separated like those of PATH. A broken prior is a row with its
    problem.

    Example:
        medldm priors list
    """

    def work() -> None:
        from dataclasses import asdict

        from rich.console import Console

        from medldm.cli.json_rows import print_rows
        from medldm.cli.prior_page import listed
        from medldm.priors.catalogue import list_priors

        rows = list_priors()
        if as_json:
            print_rows("priors", [asdict(row) for row in rows])
        else:
            listed(Console(), rows)

    finish(work, as_json=as_json)


@app.command("show")
def show(name: Name, as_json: options.Json = False) -> None:
    """Show the card of a prior: which scans it is for, what it was trained on, whom to cite, what it reached.

    Examples:
        medldm priors show brain-mr-2d-pixel

        medldm priors show trained/my-prior --json
    """

    def work() -> None:
        from rich.console import Console

        from medldm.cli.json_rows import print_rows
        from medldm.cli.prior_page import page
        from medldm.priors.card_file import entries_of, read_card
        from medldm.priors.catalogue import find_prior

        folder = find_prior(name)
        card = read_card(folder)
        if as_json:
            print_rows("prior", [{"folder": folder, **entries_of(card)}])
        else:
            page(Console(), card, folder)

    finish(work, as_json=as_json)


@app.command("check")
def check(context: typer.Context, name: Name, as_json: options.Json = False) -> None:
    """Verify a prior folder and run the laws of priors on it, on a small grid.

    Hashes, sizes, names and values of the weights against the card, then its behaviour. Leaves with exit code 6 when
    something does not hold.

    Examples:
        medldm priors check brain-mr-2d-pixel

        medldm priors check trained/my-prior --json
    """

    def work() -> None:
        from medldm.priors.card_file import require_card
        from medldm.priors.catalogue import find_prior
        from medldm.testing.checks import check_prior

        folder = find_prior(name)
        require_card(folder)
        _report(check_prior(folder, session_of(context).host()), as_json=as_json)

    finish(work, as_json=as_json)


@app.command("import")
def import_(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A local folder of diffusers, or of a MONAI bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the prior to make.")],
    family: Annotated[str | None, typer.Option("--family", help="Which family takes it; each is tried.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="State an entry of the card: modality=MR. May be repeated.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    r"""Bring in a prior of another program from a local folder, then check it. Nothing is downloaded.

    What the weights do not tell is stated with --set; what is missing is listed.

    Examples:
        medldm priors import ddpm-brain/ -o priors/ddpm-brain --set modality=MR --set quantity=arbitrary \
          --set intensity.rule=percentile --set spacing_mm.low=0.8 --set spacing_mm.high=1.2 \
          --set 'planes=\[axial]' --set licence=CC-BY-4.0

        medldm priors import brain_image_synthesis_latent_diffusion_model/ -o priors/brain-3d
    """

    def work() -> None:
        from rich.console import Console
        from rich.markup import escape

        from medldm.priors.foreign import assumed, import_prior
        from medldm.testing.checks import check_prior

        host = session_of(context).host()
        card = import_prior(source, out, host, set_ or [], family)
        if not as_json:
            console = Console()
            console.print(f"{escape(str(out))}: {escape(card.summary)}", highlight=False)
            for note in card.training.figures.get("notes", ()):
                console.print(f"[yellow]note[/] {escape(str(note))}", highlight=False)
            for entry, why in assumed(card).items():
                console.print(f"[yellow]assumed[/] {escape(f'{entry}: {why}')}", highlight=False)
        _report(check_prior(out, host), as_json=as_json)

    finish(work, as_json=as_json)


def _report(rows: list[CheckRow], *, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.console import Console

    from medldm.cli.json_rows import print_rows
    from medldm.cli.prior_page import checked
    from medldm.errors import GateFailed

    failed = [row for row in rows if row.status == "failed"]
    if as_json:
        print_rows("checks", [asdict(row) for row in rows])
    else:
        checked(Console(), rows)
    if failed:
        raise GateFailed(
            "E-PRI-42",
            f"{len(failed)} of {len(rows)} checks of the prior {rows[0].component!r} failed.",
            why="A prior that breaks a law gives wrong images, or none.",
            fix="See the sentence beside each failed check.",
        )
