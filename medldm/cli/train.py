"""``medldm train``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medldm.cli import options
from medldm.cli.failure import when_interrupted
from medldm.cli.session import finish, session_of

if TYPE_CHECKING:
    from medldm.cli.reporter import Reporter
    from medldm.training.beginning import Role
    from medldm.training.loop import Tell

app = typer.Typer(help="Train the networks of a prior on folders of scans.", no_args_is_help=True)

Data = Annotated[
    list[Path], typer.Argument(help="Folders of scans, any format that a reader knows, or files made by train pack.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the prior, the state, sheets and curves.")]
Config = Annotated[str, typer.Option("--config", help="Name of a shipped configuration, or a path ending in .yaml.")]
Assign = Annotated[list[str] | None, typer.Option("--set", help="Change one value: run.steps=2000. May be repeated.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the state that OUT holds.")]
StopAfter = Annotated[float | None, typer.Option("--stop-after", min=1, help="Seconds after which to save and leave.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda. Several GPUs: accelerate launch")]
From = Annotated[
    str,
    typer.Option("--from", metavar="PRIOR", help="Prior, by name or folder, whose weights to begin at: fine-tuning."),
]
# A training that is asked to stop saves its state, but not while it reads scans or is stopped at once.
_LEFT_BEHIND = "Interrupted. With --resume the same command goes on from the state in OUT, without one it begins anew."


@app.command("autoencoder")
def autoencoder(
    context: typer.Context,
    data: Data,
    out: Out,
    config: Config = "slice-autoencoder",
    from_: From = "",
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
    job = _Job("autoencoder", data, out, config, set_ or [], resume, stop_after, device, begin_at=from_)
    finish(lambda: job.run(context, as_json=as_json, quiet=quiet), as_json=as_json, verbose=verbose)


@app.command("denoiser")
def denoiser(
    context: typer.Context,
    data: Data,
    out: Out,
    config: Config = "slice-pixel",
    from_: From = "",
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

    With --from it begins at the weights of a prior, and the network, what it is told, intensities and noise levels are
    that prior's: a few scans of your own and some minutes then do what would take many and hours.

    Examples:
        medldm train denoiser scans/ -o trained --config slice-pixel

        medldm train denoiser scans/ -o trained --config slice-latent --set autoencoder=autoencoder/slice-autoencoder

        medldm train denoiser scans/ -o trained --config own-mr --from brain-mr-2d-pixel --set optimiser.rate=1e-4

        accelerate launch -m medldm train denoiser scans/ -o trained --config my.yaml
    """
    job = _Job("denoiser", data, out, config, set_ or [], resume, stop_after, device, begin_at=from_)
    finish(lambda: job.run(context, as_json=as_json, quiet=quiet), as_json=as_json, verbose=verbose)


@app.command("regressor")
def regressor(
    context: typer.Context,
    data: Data,
    out: Out,
    recipe: Annotated[str, typer.Option("--recipe", help="Name of a shipped recipe, or a path ending in .yaml.")],
    config: Config = "slice-regressor",
    set_: Assign = None,
    resume: Resume = False,
    stop_after: StopAfter = None,
    device: Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a network to turn the start image of one recipe into the image: what a diffusion prior has to beat.

    Measurements of the scans are simulated by the recipe and kept in OUT/training. At the end OUT holds a folder for
    the solver supervised; it is of use for that recipe alone.

    Examples:
        medldm train regressor scans/ -o trained --config slice-regressor --recipe mri-4x

        medldm train regressor scans/ -o trained --config slice-regressor-ct --recipe ct-60-views
    """
    job = _Job("regressor", data, out, config, set_ or [], resume, stop_after, device, recipe=recipe)
    finish(lambda: job.run(context, as_json=as_json, quiet=quiet), as_json=as_json, verbose=verbose)


@app.command("pack")
def pack(
    context: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")],
    config: Config = "slice-pixel",
    set_: Assign = None,
    max_size: Annotated[str, typer.Option("--max-size", help="Largest size of the file: 16M, 500K.")] = "16M",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a small part of the scans to one file, to train from it on another machine.

    Slices of all scans in 8 bits, as many of each as the configuration draws them. The file holds the names by which
    the configuration tells subjects apart, and pictures of their bodies: treat it as you treat the scans.

    Examples:
        medldm train pack scans/ -o scans.pack --config slice-pixel --max-size 16M

        medldm train denoiser scans.pack -o trained --config slice-pixel
    """

    def work() -> None:
        from medldm.cli.reporter import Reporter
        from medldm.pipeline.memory import parse_bytes
        from medldm.training.cards import units_of
        from medldm.training.command import read_config
        from medldm.training.pack import pack as write
        from medldm.training.pack_file import require_place
        from medldm.training.scans import read_scans

        settings, _ = read_config(config, set_ or [])
        limit = parse_bytes(max_size)
        require_place(out)
        with Reporter(as_json=as_json, quiet=quiet) as reporter:
            tell = _teller(reporter)
            host, units = session_of(context).host(), units_of(settings)
            scans = read_scans(host, data, settings.data, lambda text: tell("scans", text, {}), settings.patches, units)
            size = write(scans, settings, out, limit, lambda text: tell("pack", text, {}))
            tell("pack", f"{out}", {"path": str(out), "bytes": size})

    finish(work, as_json=as_json, verbose=verbose)


@dataclass(frozen=True)
class _Job:
    """One training as it was asked for; the three commands differ in the network and in where it begins."""

    network: Literal["autoencoder", "denoiser", "regressor"]
    data: list[Path]
    out: Path
    config: str
    assignments: list[str]
    resume: bool
    stop_after: float | None
    device: str
    begin_at: str = ""
    recipe: str = ""

    def run(self, context: typer.Context, *, as_json: bool, quiet: bool) -> None:
        from medldm.cli.reporter import Reporter
        from medldm.pipeline.recipe import load_recipe
        from medldm.training.command import prepare, read_config
        from medldm.training.run import train_autoencoder, train_denoiser, train_regressor

        role: Role = "autoencoder" if self.network == "autoencoder" else "denoiser"
        settings, written = read_config(self.config, self.assignments, role=role, begin_at=self.begin_at)
        # Of several processes, which a launcher numbers, one tells.
        alone = os.environ.get("RANK", "0") == "0"
        with when_interrupted(lambda: _LEFT_BEHIND), Reporter(as_json=as_json, quiet=quiet) as reporter:
            tell = _teller(reporter) if alone else _silent
            host = session_of(context).host()
            make: Callable[..., list[Path]] = train_autoencoder if role == "autoencoder" else train_denoiser
            if self.network == "regressor":
                make = partial(train_regressor, host, recipe=load_recipe(self.recipe))
            prepared = prepare(host, self.data, settings, written, tell, command=_command(), device=self.device)
            for folder in make(prepared, out=self.out, tell=tell, resume=self.resume, stop_after=self.stop_after):
                tell("prior", f"{folder}: research use only", {"path": str(folder)})
            if prepared.accelerator.num_processes > 1:
                prepared.accelerator.end_training()


def _teller(reporter: Reporter) -> Tell:
    from medldm.pipeline.events import Event

    def tell(stage: str, message: str, fields: Mapping[str, Any]) -> None:
        reporter(Event(stage, message, dict(fields)))

    return tell


def _silent(stage: str, message: str, fields: Mapping[str, Any]) -> None:
    pass


def _command() -> str:
    """The command as typed, for the card; paths keep their last part only, since the rest tells of the machine."""
    words = iter(sys.argv[1:])
    kept = ["medldm"]
    for word in words:
        if word == "--stop-after":
            next(words, None)
        elif word != "--resume" and not word.startswith("--stop-after="):
            name, equals, value = word.rpartition("=")
            kept.append(f"{name}{equals}{Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(kept)
