"""``medldm train``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medldm.cli import options
from medldm.cli.session import finish, session_of

if TYPE_CHECKING:
    from medldm.cli.reporter import Reporter
    from medldm.training.loop import Tell

app = typer.Typer(help="Train the networks of a prior on folders of scans.", no_args_is_help=True)

Data = Annotated[list[Path], typer.Argument(help="Folders of scans, any format that a reader knows.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the prior, the state, sheets and curves.")]
Config = Annotated[str, typer.Option("--config", help="Name of a shipped configuration, or a path ending in .yaml.")]
Assign = Annotated[list[str] | None, typer.Option("--set", help="Change one value: run.steps=2000. May be repeated.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the state that OUT holds.")]
StopAfter = Annotated[float | None, typer.Option("--stop-after", min=1, help="Seconds after which to save and leave.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda. Several GPUs: accelerate launch -m medldm")]


@app.command("autoencoder")
def autoencoder(
    context: typer.Context,
    data: Data,
    out: Out,
    config: Config = "slice-autoencoder",
    set_: Assign = None,
    resume: Resume = False,
    stop_after: StopAfter = None,
    device: Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train the autoencoder of a latent prior.

    A killed training goes on with --resume. A sheet of pictures appears in OUT/training/sheets at every look.

    Examples:
        medldm train autoencoder scans/ -o autoencoder --config slice-autoencoder

        medldm train autoencoder scans/ -o autoencoder --resume --set run.steps=20000
    """
    _run("autoencoder", context, data, out, config, set_, resume, stop_after, device, as_json, quiet, verbose)


@app.command("denoiser")
def denoiser(
    context: typer.Context,
    data: Data,
    out: Out,
    config: Config = "slice-pixel",
    set_: Assign = None,
    resume: Resume = False,
    stop_after: StopAfter = None,
    device: Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train the denoiser of a prior, of images or of the latents of an autoencoder.

    A killed training goes on with --resume. A sheet of pictures appears in OUT/training/sheets at every look. At the
    end OUT holds a prior folder that `medldm priors check` has nothing against.

    Examples:
        medldm train denoiser scans/ -o trained --config slice-pixel

        medldm train denoiser scans/ -o trained --config slice-latent --set autoencoder=autoencoder/slice-autoencoder

        accelerate launch -m medldm.cli.app train denoiser scans/ -o trained --config my.yaml
    """
    _run("denoiser", context, data, out, config, set_, resume, stop_after, device, as_json, quiet, verbose)


def _run(
    what: str,
    context: typer.Context,
    data: list[Path],
    out: Path,
    config: str,
    set_: list[str] | None,
    resume: bool,
    stop_after: float | None,
    device: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    def work() -> None:
        from medldm.cli.reporter import Reporter
        from medldm.training.command import prepare, read_config
        from medldm.training.run import train_autoencoder, train_denoiser

        settings, written = read_config(config, set_ or [])
        with Reporter(as_json=as_json, quiet=quiet) as reporter:
            tell = _teller(reporter)
            prepared = prepare(
                session_of(context).host(), data, settings, written, tell, command=_command(), device=device
            )
            make: Callable[..., list[Path]] = train_autoencoder if what == "autoencoder" else train_denoiser
            for folder in make(prepared, out, tell, resume=resume, stop_after=stop_after):
                tell("prior", f"{folder}: research use only", {"path": str(folder)})

    finish(work, as_json=as_json, verbose=verbose)


def _teller(reporter: Reporter) -> Tell:
    from medldm.pipeline.events import Event

    def tell(stage: str, message: str, fields: Mapping[str, Any]) -> None:
        reporter(Event(stage, message, dict(fields)))

    return tell


def _command() -> str:
    """The command as typed, for the card; paths keep their last part only, since the rest tells of the machine."""
    words = ["medldm", *(Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:])]
    kept = [word for word in words if word != "--resume"]
    if "--stop-after" in kept:
        at = kept.index("--stop-after")
        del kept[at : at + 2]
    return shlex.join(kept)
