"""One scan from its input to its place: what a worker does. Its result goes to disk; only a short word comes back."""

from __future__ import annotations

import errno
import functools
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from medldm.batch.claim import Claim
from medldm.batch.fingerprint import content_hash, fingerprint
from medldm.batch.finished import commit, damaged, occupied, read_manifest_of, taken
from medldm.batch.job import job_key
from medldm.batch.limits import CANCELLED, MEMORY, Limits, OverLimit
from medldm.batch.memory_ladder import smaller
from medldm.batch.order import Kind, Order, Outcome
from medldm.errors import GateFailed, MedldmError, UsageError
from medldm.host import Host, load_host
from medldm.pipeline.allocator import keep_freed_pages
from medldm.pipeline.events import Listener
from medldm.pipeline.output import finished_record
from medldm.pipeline.recipe import from_mapping
from medldm.pipeline.reconstruct import reconstruct
from medldm.report import report_page

log = logging.getLogger("medldm")

_DASKS_OWN_TRIM = "65536"
# A saved state of other slice batches, or one that a dying machine tore: the scan begins anew.
_FOREIGN_STATE = ("E-RUN-08", "E-RUN-09")
_KINDS: Mapping[str, Kind] = {CANCELLED: "stopped", MEMORY: "memory"}
# A process works on one scan at a time, however many threads its worker has.
_ONE_AT_A_TIME = threading.Lock()


@functools.lru_cache(maxsize=1)
def host_of(allow: tuple[str, ...] | None, block: tuple[str, ...]) -> Host:
    """The plugins of this process, loaded once; the prior used last stays loaded with them."""
    return load_host(allow, block)


def run_scan(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's task: plain JSON in and out, never an exception."""
    _prepare_process()
    return work_on(Order.from_dict(fields), may_kill=True).as_dict()


@functools.cache
def _prepare_process() -> None:
    """Once in each worker: large arrays keep their pages, as they do in the command line's own process."""
    if os.environ.get("MALLOC_TRIM_THRESHOLD_") == _DASKS_OWN_TRIM:
        del os.environ["MALLOC_TRIM_THRESHOLD_"]  # nobody's choice but Dask's
    keep_freed_pages()


def work_on(order: Order, *, may_kill: bool, listeners: Sequence[Listener] = ()) -> Outcome:
    """Reconstruct one scan and put the result into its place.

    Args:
        order: what to do.
        may_kill: whether the process may be killed when the scan passes its limits and does not stop.
        listeners: called with the events of the reconstruction.

    Raises:
        KeyboardInterrupt: Ctrl-C reached this process; the state is saved.
    """
    begun = time.monotonic()
    settings = order.settings
    cancel_file = order.place.cancel_file
    limits = Limits(settings.time_limit, settings.memory_limit, cancel_file, order.work if may_kill else None)
    try:
        with _ONE_AT_A_TIME, Claim(order.work, order.token) as claim, limits:
            if not claim.held:
                return Outcome(order.key, order.token, "busy")
            outcome = _reconstructed(order, claim, limits, listeners)
    except (OverLimit, KeyboardInterrupt):
        if not limits.code:
            raise
        outcome = Outcome(order.key, order.token, _KINDS.get(limits.code, "failed"), limits.code, limits.reason)
    except MedldmError as error:
        outcome = _of_refusal(order, error)
    except MemoryError as error:
        outcome = Outcome(order.key, order.token, "memory", "E-MEM-02", f"Out of memory. {error}".strip())
    except (Exception, SystemExit) as error:  # whatever a component raises, the batch goes on
        outcome = _of_surprise(order, error)
    return outcome.after(time.monotonic() - begun)


def _reconstructed(order: Order, claim: Claim, limits: Limits, listeners: Sequence[Listener]) -> Outcome:
    settings, place, row = order.settings, order.place, order.row
    host = host_of(settings.allow, settings.block)
    mark = fingerprint(host, row.input, row.truth)
    content = content_hash(host, row.input)
    truth = "" if row.truth is None else content_hash(host, row.truth)
    if fingerprint(host, row.input, row.truth).mark != mark.mark:
        raise MedldmError(
            "E-BAT-19", "The input changed while it was read.", fix="Wait until the scan is whole; see batch watch."
        )
    job = job_key(order.plan, content, truth)
    name = row.output or job[:16]
    there = read_manifest_of(place.record_folder(name))
    if there is not None and there["job"] == job and not damaged(place, there):
        claim.finish()
        return Outcome(order.key, order.token, there["state"], name=name, job=job, mark=mark.mark, hash="", again=True)
    if occupied(place.record_folder(name)) and not (there and (settings.overwrite or there["job"] == job)):
        raise taken(name, ours=there is not None)
    claim.clear_results()
    recipe = smaller(from_mapping(order.recipe["name"], order.recipe["sections"]), order.level)
    run = functools.partial(
        reconstruct,
        row.input,
        claim.result,
        recipe=recipe,
        simulate=settings.simulate,
        truth=row.truth,
        read=settings.request_of(row),
        slices=None if settings.slices is None else slice(*settings.slices),
        device=settings.device,
        max_memory=settings.memory_limit,
        resume=True,
        anonymous=settings.anonymous,
        stop=limits.stop,
        save_every=settings.save_every,
        host=host,
        listeners=[limits.listener, *listeners],
        pages=[report_page],
    )
    gate = ""
    try:
        try:
            run()
        except UsageError as error:
            if error.code not in _FOREIGN_STATE:
                raise
            claim.forget_state()
            run()
    except GateFailed as error:
        if not any(finished_record(record.parent) for record in claim.folder.rglob("run.json")):
            raise  # it diverged, and nothing was written
        gate = error.what
    state: Kind = "gate-failed" if gate else "done"
    facts = {
        "name": name,
        "state": state,
        "reasons": [gate] if gate else [],
        "job": job,
        "plan": dict(order.plan),
        "input": {"sha256": content, "mark": mark.mark, "files": mark.files, "bytes": mark.bytes},
        **({} if settings.anonymous else {"source": str(row.input)}),
        "recipe": {"name": recipe.name, "sha256": order.plan["recipe"]},
        **({"memory_level": order.level} if order.level else {}),
        "attempt": order.attempt,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    overwrite = settings.overwrite or there is not None
    digest = commit(claim.made(), place, name, row, facts, overwrite=overwrite)
    claim.finish()
    code = "E-GATE-02" if gate else ""
    return Outcome(order.key, order.token, state, code, gate, name=name, job=job, mark=mark.mark, hash=digest)


def _of_refusal(order: Order, error: MedldmError) -> Outcome:
    kind: Kind
    full = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
    if full:
        kind = "disk-full"
    elif error.exit_code == 5:
        kind = "memory"
    else:
        # What is wrong with the scan, the recipe or the installation is so at the next attempt too.
        kind = "refused" if error.exit_code in (2, 3, 4, 6) else "failed"
    return Outcome(order.key, order.token, kind, error.code, " ".join(p for p in (error.what, error.fix) if p))


def _of_surprise(order: Order, error: BaseException) -> Outcome:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Outcome(order.key, order.token, "disk-full", "E-BAT-10", "The disk is full.")
    if type(error).__name__ == "OutOfMemoryError":  # torch's own
        return Outcome(order.key, order.token, "memory", "E-MEM-03", "The GPU is out of memory.")
    log.debug("scan %s", order.key, exc_info=error)
    return Outcome(order.key, order.token, "failed", "E-BUG-01", f"Unexpected {type(error).__name__}: {error}")
