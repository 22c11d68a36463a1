"""``medldm batch``: many scans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medldm.cli import batch_state, options
from medldm.cli.durations import seconds
from medldm.cli.failure import when_interrupted
from medldm.cli.session import Session, finish, session_of

if TYPE_CHECKING:
    from medldm.batch.batch import Workforce
    from medldm.batch.index import Scan
    from medldm.batch.settings import Settings
    from medldm.batch.source import Source
    from medldm.cli.batch_display import BatchDisplay

app = typer.Typer(help="Reconstruct many scans, on this machine or a cluster.", no_args_is_help=True)
app.command("status")(batch_state.status)
app.command("cancel")(batch_state.cancel)
app.command("clean")(batch_state.clean)

_Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; run the same command again to go on.")]
_Workers = Annotated[str, typer.Option("--workers", help="How many, or auto: one a GPU, one without any.")]
_Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="local, the ADDRESS of a Dask scheduler, or slurm. Left out: one worker in process."
    ),
]
_Slurm = Annotated[
    list[str] | None,
    typer.Option("--slurm", help="walltime=08:00:00, memory=32GB, cores=8, gres=gpu:1, queue=...; repeatable."),
]
_Attempts = Annotated[int, typer.Option("--attempts", min=1, help="How often a scan is begun before it is given up.")]
_Time = Annotated[str | None, typer.Option("--time-limit", help="For one scan: 90, 30m, 2h.")]
_Memory = Annotated[str | None, typer.Option("--memory-limit", help="For one scan: 8G, 500M.")]
_Save = Annotated[
    float | None, typer.Option("--save-every", min=0, help="Seconds between two saves of a long scan's state.")
]
_Simulate = Annotated[
    bool, typer.Option("--simulate", help="Measure images by the recipe's physics first; marked SIMULATED.")
]
_Classical = Annotated[bool, typer.Option("--classical", help="Without a prior: by the recipe's classical solver.")]
_Samples = Annotated[int | None, typer.Option("--samples", min=1, help="Short for run.samples.")]
_Prior = Annotated[str | None, typer.Option("--prior", help="Name or folder of a prior; short for prior.name.")]
_Replace = Annotated[bool, typer.Option("--overwrite", help="Replace results of other recipes, priors or versions.")]


@app.command("run")
def run(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A manifest (CSV), a folder of scans, or a BIDS data set.")],
    out: _Out,
    recipe: options.Recipe = "mri-4x",
    workers: _Workers = "auto",
    cluster: _Cluster = None,
    slurm: _Slurm = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", help="Of a folder only what matches, e.g. '*_T1w.nii.gz'.")
    ] = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Missing inputs fail one by one instead of all at the start.")
    ] = False,
    simulate: _Simulate = False,
    set_: options.Set = None,
    prior: _Prior = None,
    samples: _Samples = None,
    seed: options.Seed = None,
    classical: _Classical = False,
    untilt: options.Untilt = False,
    allow_gaps: options.AllowGaps = None,
    assume_orientation: options.Orientation = None,
    modality: options.Modality = None,
    slices: options.Slices = None,
    device: options.Device = "auto",
    attempts: _Attempts = 3,
    time_limit: _Time = None,
    memory_limit: _Memory = None,
    save_every: _Save = None,
    overwrite: _Replace = False,
    anonymous_names: options.AnonymousNames = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the scans, and with --cluster slurm the job script; do nothing.")
    ] = False,
    save_manifest: Annotated[
        Path | None, typer.Option("--save-manifest", help="With --dry-run: write the scans found as a CSV to edit.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct all scans of a manifest, a folder or a BIDS data set; interrupted or killed, it goes on.

    Examples:
        medldm batch run scans/ -o out --recipe mri-4x --simulate

        medldm batch run manifest.csv -o out --recipe ct-60-views --workers 4

        medldm batch run bids/ -o derivatives --recipe mri-8x --simulate --include '*_T1w.nii.gz'

        medldm batch run manifest.csv -o out --cluster slurm --workers 16 --slurm gres=gpu:1 --slurm walltime=08:00:00
    """

    def work() -> None:
        from medldm.batch.batch import Workforce
        from medldm.batch.cluster import worker_count
        from medldm.batch.source import find_source

        session = session_of(context)
        settings = _settings(
            session,
            recipe,
            options.assignments(set_, seed, samples, prior),
            classical=classical,
            simulate=simulate,
            untilt=untilt,
            allow_gaps=allow_gaps,
            assume_orientation=assume_orientation,
            modality=modality,
            slices=slices,
            device=device,
            attempts=attempts,
            time_limit=time_limit,
            memory_limit=memory_limit,
            save_every=save_every,
            overwrite=overwrite,
            anonymous=anonymous_names,
        )
        found = find_source(
            session.host(), source, include=include or (), skip_missing=skip_missing, anonymous=anonymous_names
        )
        workforce = Workforce(worker_count(workers), cluster, tuple(slurm or ()))
        if dry_run:
            from medldm.cli.batch_plan import show_plan

            show_plan(session.host(), found, out, settings, workforce, save_manifest, as_json=as_json)
            return
        _carry_out(session, found, out, settings, workforce, as_json=as_json, quiet=quiet)

    finish(work, as_json=as_json, verbose=verbose)


@app.command("retry")
def retry(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Output folder of a batch.")],
    workers: _Workers = "auto",
    cluster: _Cluster = None,
    slurm: _Slurm = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Begin the scans anew that were given up, with the settings of the batch, and all that are waiting.

    Example:
        medldm batch retry out
    """

    def work() -> None:
        from medldm.batch.batch import Workforce
        from medldm.batch.cluster import worker_count
        from medldm.batch.planning import begun_before

        source, settings = begun_before(out)
        workforce = Workforce(worker_count(workers), cluster, tuple(slurm or ()))
        _carry_out(session_of(context), source, out, settings, workforce, as_json=as_json, quiet=quiet, retry=True)

    finish(work, as_json=as_json, verbose=verbose)


@app.command("watch")
def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder into which scans come.")],
    out: _Out,
    recipe: options.Recipe = "mri-4x",
    workers: _Workers = "auto",
    cluster: _Cluster = None,
    slurm: _Slurm = None,
    quiet_for: Annotated[
        str, typer.Option("--settle", help="A scan is taken when it has not changed for so long: 60, 5m.")
    ] = "60",
    every: Annotated[str, typer.Option("--every", help="Time between two looks.")] = "10",
    idle: Annotated[str | None, typer.Option("--idle", help="End when nothing has come for so long.")] = None,
    simulate: _Simulate = False,
    set_: options.Set = None,
    prior: _Prior = None,
    samples: _Samples = None,
    seed: options.Seed = None,
    classical: _Classical = False,
    modality: options.Modality = None,
    device: options.Device = "auto",
    attempts: _Attempts = 3,
    time_limit: _Time = None,
    memory_limit: _Memory = None,
    save_every: _Save = None,
    overwrite: _Replace = False,
    anonymous_names: options.AnonymousNames = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct every scan that comes into a folder, once it has stopped growing. Ctrl-C ends it.

    Example:
        medldm batch watch incoming/ -o out --recipe ct-60-views --simulate --settle 2m
    """

    def work() -> None:
        from medldm.batch.batch import Watchers, Workforce, check_all_done
        from medldm.batch.cluster import worker_count
        from medldm.batch.watch import watch as keep_watching
        from medldm.errors import InputRefused

        session = session_of(context)
        settings = _settings(
            session,
            recipe,
            options.assignments(set_, seed, samples, prior),
            classical=classical,
            simulate=simulate,
            modality=modality,
            device=device,
            attempts=attempts,
            time_limit=time_limit,
            memory_limit=memory_limit,
            save_every=save_every,
            overwrite=overwrite,
            anonymous=anonymous_names,
        )
        if not folder.is_dir():
            raise InputRefused("E-IN-01", f"{folder} is no folder.", fix="Check the path.")

        def begin(display: BatchDisplay) -> list[Scan]:
            workforce = Workforce(worker_count(workers), cluster, tuple(slurm or ()), (display.event,))
            return keep_watching(
                session.host(),
                folder,
                out,
                settings,
                workforce,
                Watchers(display.say, display.standing),
                quiet=seconds(quiet_for),
                every=seconds(every),
                idle=None if idle is None else seconds(idle),
            )

        scans = _displayed(begin, out, settings, as_json=as_json, quiet=quiet)
        check_all_done(scans)

    finish(work, as_json=as_json, verbose=verbose)


def _settings(
    session: Session,
    recipe: str,
    changes: list[str],
    *,
    classical: bool,
    simulate: bool,
    device: str,
    attempts: int,
    time_limit: str | None,
    memory_limit: str | None,
    save_every: float | None,
    overwrite: bool,
    anonymous: bool,
    modality: str | None,
    untilt: bool = False,
    allow_gaps: str | None = None,
    assume_orientation: str | None = None,
    slices: str | None = None,
) -> Settings:
    from medldm.batch.settings import Settings, named
    from medldm.pipeline.memory import parse_bytes

    request = options.read_request(None, None, untilt, allow_gaps, assume_orientation, modality)
    cut = options.slice_range(slices)
    return Settings(
        recipe=named(recipe),
        set=tuple(changes),
        classical=classical,
        simulate=simulate,
        slices=None if cut is None else (cut.start, cut.stop),
        untilt=request.untilt,
        allow_gaps=request.allow_gaps,
        assume_orientation=request.assume_orientation,
        modality=request.modality,
        device=device,
        anonymous=anonymous,
        attempts=attempts,
        time_limit=None if time_limit is None else seconds(time_limit),
        memory_limit=None if memory_limit is None else parse_bytes(memory_limit),
        save_every=save_every,
        overwrite=overwrite,
        allow=session.allow,
        block=session.block,
    )


def _carry_out(
    session: Session,
    found: Source,
    out: Path,
    settings: Settings,
    workforce: Workforce,
    *,
    as_json: bool,
    quiet: bool,
    retry: bool = False,
) -> None:
    from dataclasses import replace

    from medldm.batch.batch import Watchers, check_all_done, run_batch

    def begin(display: BatchDisplay) -> list[Scan]:
        if found.left_out and not settings.anonymous:
            for one in found.left_out[:10]:
                display.say(f"left out: {one.code} {one.path}: {one.reason}")
        if found.omitted:
            display.say(f"{found.omitted}, {len(found.rows)} scans to reconstruct")
        staff = replace(workforce, listeners=(display.event,))
        watchers = Watchers(display.say, display.standing)
        return run_batch(session.host(), found, out, settings, staff, watchers, retry=retry)

    scans = _displayed(begin, out, settings, as_json=as_json, quiet=quiet)
    check_all_done(scans)


def _displayed(
    work: Callable[[BatchDisplay], list[Scan]], out: Path, settings: Settings, *, as_json: bool, quiet: bool
) -> list[Scan]:
    """Run a batch with its display; whatever ended it, the page that lists its results is brought up to date."""
    import signal
    import threading
    from types import FrameType

    from medldm.cli.batch_display import BatchDisplay

    def ended(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ended)  # how Slurm and init systems say that time is up
    with (
        when_interrupted(lambda: "Interrupted; what is finished or was saved is kept. The same command goes on."),
        BatchDisplay(as_json=as_json, quiet=quiet, anonymous=settings.anonymous) as display,
    ):
        scans = work(display)
        display.ended(out, scans)
    if not quiet and not as_json:
        display.console.print(f"results in {out}", highlight=False, markup=False, soft_wrap=True)
    return scans
