"""The way of a scan through medldm, from top to bottom. Read this file first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medldm.data import Acquisition, ReadRequest, Volume
from medldm.errors import UsageError
from medldm.host import Host, load_host
from medldm.inference import is_exact, run
from medldm.pipeline.checks import doubts, failed_gates, require_passed
from medldm.pipeline.chosen_prior import choose_prior
from medldm.pipeline.classical import start_image
from medldm.pipeline.convergence import Convergence
from medldm.pipeline.events import Listener, Teller, Warnings
from medldm.pipeline.fit_along import chi_along
from medldm.pipeline.maps import chosen_maps
from medldm.pipeline.memory import check_memory
from medldm.pipeline.methods import methods_of
from medldm.pipeline.metrics import compare_finite, compare_slices, finite_by_metric, joined
from medldm.pipeline.output import OutputFolder
from medldm.pipeline.posing import device_named, finished_volume, pose
from medldm.pipeline.problem import problem_of
from medldm.pipeline.progress import Progress
from medldm.pipeline.reading import case_hash, read_case
from medldm.pipeline.recipe import Recipe, load_recipe
from medldm.pipeline.record import Timer, run_record
from medldm.pipeline.reference import read_compared, reference_on
from medldm.pipeline.remarks import doubts_about_choices, remarks_on_scan
from medldm.pipeline.results import Page, require_writable, write_results
from medldm.pipeline.resume import job_of, name_of
from medldm.pipeline.sampling import Sampling, check_samples, too_much_alike
from medldm.pipeline.simulate import measure
from medldm.pipeline.slice_likeness import slice_likeness
from medldm.pipeline.trial import trial_of
from medldm.pipeline.uncertainty import uncertainty_of


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a run gives.

    Attributes:
        image: the reconstruction, in the unit of the scan; of several samples their mean.
        baseline: the start image, what one gets without the solver.
        truth: the image that was measured, or the reference given; None without either.
        record: the content of ``run.json``.
        maps: of its uncertainty, by name: ``spread``, ``lower``, ``upper``, ``prior-share``; what there is.
        files: what was written.
    """

    image: Volume
    baseline: Volume
    truth: Volume | None
    record: Mapping[str, Any]
    maps: Mapping[str, Volume] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def reconstruct(
    source: str | Path | Volume | Acquisition,
    out: str | Path | None = None,
    *,
    recipe: str | Path | Recipe = "mri-4x",
    simulate: bool = False,
    set_: Sequence[str] = (),
    truth: str | Path | Volume | None = None,
    read: ReadRequest | None = None,
    slices: slice | None = None,
    device: str = "auto",
    max_memory: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    anonymous: bool = False,
    stop: Callable[[], bool] | None = None,
    save_every: float | None = None,
    host: Host | None = None,
    listeners: Sequence[Listener] = (),
    pages: Sequence[Page] = (),
) -> Reconstruction:
    """Reconstruct one scan.

    Args:
        source: file or folder that a reader understands, or a :class:`Volume` or :class:`Acquisition`.
        out: output folder; nothing is written when None.
        recipe: name of a shipped recipe, a path, or a :class:`Recipe`.
        simulate: an image has no raw data; True measures it first by the recipe's physics, and SIMULATED stands in
            everything that comes of it.
        set_: assignments such as ``"solver.iterations=50"``.
        truth: reference image for the metrics of a measured scan, or a volume of which the scan is some slices. It
            never enters the reconstruction.
        read: what to ask of the reader (series, volume, untilt, gaps).
        slices: range along z to reconstruct, of an image.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        max_memory: bytes to keep within, with fewer samples and slices of a network at a time; refused before starting
            where that is not enough. The memory that is free when None.
        resume: go on from the state that an interrupted run of the same job left beside ``out``.
        overwrite: replace a finished output folder.
        anonymous: ``out`` holds many results; this one goes to a folder in it that is named by the hash of the job, and
            nothing that is told names the scan otherwise.
        stop: asked after every step of the solver; True saves the state and raises ``KeyboardInterrupt``.
        save_every: seconds between two saves of the state; every minute when None.
        host: plugins; all that are installed when None.
        listeners: called with every event.
        pages: fill further files into the folder, a report, before it appears; none with ``outputs.report: false``.

    Returns:
        The image, the start image, the truth if any, and the record.

    Raises:
        MedldmError: a refusal with its code; its subclasses carry the exit code of the command line.
    """
    host, heard, timer, where = host or load_host(), Warnings(), Timer(), device_named(device)
    tell = Teller((heard, *listeners))
    chosen = recipe.changed(set_) if isinstance(recipe, Recipe) else load_recipe(recipe, set_)
    path = None if isinstance(source, (Volume, Acquisition)) else Path(source)
    folder = None if out is None or anonymous else OutputFolder.open(Path(out), path, overwrite=overwrite)

    # 1. Read: an image, or a measurement.
    with timer("read"):
        case = source if isinstance(source, (Volume, Acquisition)) else read_case(host, source, read)
        # A format that cannot tell its modality takes that of the scan.
        asked = ReadRequest(modality=case.modality)
        reference = read_compared(host, truth, asked) if isinstance(truth, (str, Path)) else truth
        case = cut(case, slices)
        if reference is not None:
            reference = reference_on(case.grid, reference)
        require_measurement(case, simulate=simulate)
        identity = case_hash(case)
    if anonymous:
        case = replace(case, name=f"scan {identity[:12]}")
    tell("read", f"{case.name}: {' x '.join(map(str, case.grid.shape))} voxels", case=identity[:12])
    for stage, sentence in remarks_on_scan(case, simulate=simulate):
        tell(stage, sentence)
    # The prior's card is held against the scan before anything heavy runs.
    prior = choose_prior(host, chosen, case)
    for sentence in doubts_about_choices(host, chosen, prior):
        tell("warning", sentence)
    check_samples(chosen, prior)
    job = job_of(chosen, case, prior)
    if out is not None and anonymous:
        folder = OutputFolder.open(Path(out) / name_of(job), path, overwrite=overwrite)
    wanted = chosen_maps(chosen)
    plan = check_memory(host, chosen, case, max_memory, prior)
    if plan.slices_at_once is not None:
        tell("memory", f"the prior's network takes {plan.slices_at_once} at a time of its slices, to fit the memory")
    if folder is not None:
        require_writable(host, chosen, case)

    # 2. Simulate where there is no raw data. The truth is kept apart, for the report only.
    with timer("simulate"):
        if isinstance(case, Volume):
            acquisition, reference = measure(host, chosen, case, tell), reference or case
        else:
            acquisition = case

    # 3. The operator and the likelihood of the scan, the solver, the weights of its prior.
    with timer("operator"):
        posed = pose(host, plan.streamed(chosen), acquisition, identity, where)
    tell("operator", f"{posed.operator.domain} -> {posed.operator.codomain} on {where}")
    if alike := too_much_alike(posed.solver, chosen.samples):
        tell("warning", alike)

    # 4. The start image, and 5. everything restated in the units and on the grid of the prior.
    with timer("start"):
        start = start_image(host, chosen, posed)
        baseline = finished_volume(start[None], acquisition, case, "start")
        problem = problem_of(posed, start, tell=tell)
    with timer("metrics"):  # here already: a truth that cannot be compared is refused before the solver runs
        metrics = {"baseline": compare_finite(host, baseline, reference)}

    # 6. The prior on trial against samples of the measurement that are withheld from it.
    with timer("trial"):
        trial = trial_of(host, chosen, posed, problem, start, tell)
        problem = problem if trial is None else trial.problem

    # 7. The solver, to its last step, for one sample after another or several together.
    state_file = None if folder is None else folder.state_file
    progress = Progress(state_file, job, tell, resume=resume, stop=stop, save_every=save_every)
    solver = posed.checked() if trial is None else trial.leaning(posed.checked())
    sampling, convergence = Sampling(solver, problem, chosen.samples, plan.samples_at_once), Convergence(chosen.samples)
    with timer("solve"), progress:
        run(sampling.steps(progress.restored(where)), convergence, progress)
    drawn = sampling.drawn

    # 8. Back to the grid and the unit of the scan: the mean of the samples, and how far to trust it.
    method = str(chosen.solver["name"])
    events = (*problem.events, *(trial.events if trial else ()), *drawn.events(is_complex=start.is_complex()))
    image = finished_volume(drawn.mean[None], acquisition, case, method, events)
    with timer("uncertainty"):
        uncertainty = uncertainty_of(posed, problem, drawn, image, reference, wanted, chosen.model_error)

    # 9. How well it went. Every sample must explain the measurement.
    with timer("metrics"):
        taken = finite_by_metric(host, image, reference)
        metrics["reconstruction"] = joined(taken)
        if drawn.count > 1:
            sample = finished_volume(drawn.first[None], acquisition, case, method, problem.events)
            metrics["first sample"] = compare_finite(host, sample, reference)
        curves = compare_slices(host, image, reference)
        shown = {"baseline": baseline, "reconstruction": image, **({"truth": reference} if reference else {})}
        likeness = {name: slice_likeness(volume) for name, volume in shown.items()}
    fit = drawn.fit(problem.likelihood)
    gates = chosen.outputs.get("gates", {})
    for sentence in doubts(fit, gates, exact=is_exact(posed.solver)):
        tell("warning", sentence)
    record = run_record(
        job=job,
        recipe=chosen,
        case=case,
        acquisition=acquisition,
        image=image,
        prior={**problem.record, **({"trial": trial.as_record()} if trial else {})},
        host=host,
        timer=timer,
        metrics=metrics,
        curves=curves,
        fit=fit,
        fit_along=chi_along(problem.likelihood, drawn.estimate),
        likeness=likeness,
        convergence=convergence.as_record(),
        uncertainty=uncertainty.record,
        methods=methods_of(host, chosen, posed, uncertainty.maps, compared=taken, tried=trial is not None),
        warnings=heard.sentences,
        failed=failed_gates(fit, gates),
        device=where,
        resumed_after=progress.resumed_after,
    )
    files: list[Path] = []
    if folder is not None:
        files = write_results(host, folder, chosen, record, image, baseline, reference, uncertainty.maps, pages)
        progress.forget()
        tell("write", f"{len(files)} files in {folder.path}", path=str(folder.path))
    # A case whose gate failed is finished too, and its record says so.
    host.case_finished(identity[:12], record)
    if folder is not None:
        require_passed(record["gates_failed"])
    for sentence in record["gates_failed"]:
        tell("warning", sentence)
    tell("done", "finished", chi=fit.chi, **metrics["reconstruction"])
    maps = {name: found.volume for name, found in uncertainty.maps.items()}
    return Reconstruction(image, baseline, reference, record, maps, files)


def require_measurement(case: Volume | Acquisition, *, simulate: bool) -> None:
    """Refuse an image that is not to be measured first.

    Raises:
        UsageError: E-RUN-01.
    """
    if isinstance(case, Volume) and not simulate:
        raise UsageError(
            "E-RUN-01",
            "This is an image, not a measurement.",
            why="The scanner has reconstructed it already; there is nothing to reconstruct from.",
            fix="Add --simulate to measure it by the recipe's physics first; the result is marked SIMULATED.",
        )


def cut(case: Volume | Acquisition, slices: slice | None) -> Volume | Acquisition:
    """The slices asked for, of an image.

    Raises:
        UsageError: E-RUN-06 of a measurement.
    """
    if slices is None:
        return case
    if isinstance(case, Acquisition):
        raise UsageError(
            "E-RUN-06",
            "--slices cuts images; this is a measurement.",
            why="Slices of a measurement may be coupled by the physics.",
            fix="Leave out --slices.",
        )
    return case.cropped(slices)
