"""Attempts on the workers of a Dask cluster: this machine's, those of a scheduler that runs, or Slurm's jobs."""

from __future__ import annotations

import logging
import os
import queue
import signal
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster, Worker, WorkerPlugin
from distributed.deploy.cluster import Cluster

import medldm
from medldm.batch.order import Order, Outcome
from medldm.batch.task import run_scan
from medldm.errors import ComponentMissing, UsageError

# What becomes of workers and scans, the coordinator tells.
logging.getLogger("distributed").setLevel(logging.CRITICAL)
_CONNECT_SECONDS = 30
_LOOPBACK = "127.0.0.1"

# One death of a worker is one outcome for the coordinator, which decides what to do; memory is watched by
# medldm.batch.limits, per scan. Nothing is sent anywhere but between scheduler and workers.
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.event-loop-monitor-interval": "1s",
}


class DaskEngine:
    """An engine of workers, one scan a worker process at a time.

    Args:
        client: connected.
        cluster: that was started for this batch and ends with it; None for somebody else's.
    """

    def __init__(self, client: Client, cluster: Cluster | None = None) -> None:
        self._client, self._cluster = client, cluster
        self._ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._orders: dict[str, tuple[Order, Future[Any]]] = {}

    @property
    def slots(self) -> int:
        """Worker processes that are there now."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    @property
    def busy(self) -> int:
        return len(self._orders)

    @property
    def dashboard(self) -> str:
        # Its pages are drawn by bokeh, which is not among the packages of the extra.
        return str(self._client.dashboard_link or "") if find_spec("bokeh") else ""

    def submit(self, order: Order) -> None:
        future = self._client.submit(run_scan, order.as_dict(), key=f"scan-{order.token}", retries=0, pure=False)
        self._orders[str(future.key)] = order, future
        future.add_done_callback(self._ended.put)

    def outcomes(self, timeout: float) -> list[Outcome]:
        if self._client.status != "running":
            raise UsageError(
                "E-BAT-13",
                "The connection to the scheduler is lost.",
                why="Without it no worker can be reached.",
                fix="Run the same command again: it goes on where it stopped.",
            )
        ended = []
        try:
            ended.append(self._ended.get(timeout=timeout))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        return [outcome for future in ended if (outcome := self._outcome(future)) is not None]

    def _outcome(self, future: Future[Any]) -> Outcome | None:
        known = self._orders.pop(str(future.key), None)
        if known is None:
            return None
        order = known[0]
        try:
            if future.status == "finished":
                return Outcome(**future.result())
            error = future.exception() if future.status == "error" else None
        finally:
            future.release()
        if error is None or isinstance(error, KilledWorker):
            # A scheduler of somebody else lets several workers die over a scan before it says so.
            deaths = getattr(error, "allowed_failures", 0) + 1
            reason = "The worker process was lost: killed by the system (memory, time of its job) or crashed."
            return Outcome(order.key, order.token, "lost", "E-BAT-16", reason, deaths=deaths)
        return Outcome(order.key, order.token, "failed", "E-BUG-01", f"Unexpected {type(error).__name__}: {error}")

    def close(self, *, at_once: bool = False) -> None:
        for _, future in self._orders.values():
            future.cancel(force=True)
        self._orders.clear()
        # Whatever does not end in time ends with this process, whose exit code must tell of the batch.
        with suppress(TimeoutError, OSError):
            if self._cluster is not None:
                self._cluster.close(timeout=3 if at_once else 15)
        with suppress(TimeoutError, OSError):
            self._client.close(timeout=3 if at_once else 15)


class LeftToTheCoordinator(WorkerPlugin):
    """Ctrl-C reaches every process of a terminal; the coordinator asks workers to stop in a way that saves states."""

    def setup(self, worker: Worker) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def on_this_machine(workers: int, devices: int) -> DaskEngine:
    """Worker processes here, listening on loopback only.

    Args:
        workers: how many.
        devices: CUDA devices there are: worker i sees device i modulo their number, and the first as its only one.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    specification = {
        number: {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": _LOOPBACK,
                "dashboard": False,
                "memory_limit": 0,
                "env": {"CUDA_VISIBLE_DEVICES": str(number % devices)} if devices else {},
            },
        }
        for number in range(workers)
    }
    with dask.config.set({**_CONFIG, "distributed.nanny.pre-spawn-environ": _environment(threads)}):
        scheduler = {"cls": Scheduler, "options": {"host": _LOOPBACK, "dashboard_address": f"{_LOOPBACK}:0"}}
        cluster = SpecCluster(workers=specification, scheduler=scheduler, silence_logs=60)
        client = Client(cluster, timeout=_CONNECT_SECONDS)
        client.register_plugin(LeftToTheCoordinator(), name="interrupts")
        client.wait_for_workers(workers, timeout=10 * _CONNECT_SECONDS)
    return DaskEngine(client, cluster)


def _environment(threads: int) -> Mapping[str, str]:
    """What a worker process is born with: Dask's own choices for its threads and its memory would make it slow."""
    count = os.environ.get("OMP_NUM_THREADS", str(threads))
    quiet = {"DASK_LOGGING__DISTRIBUTED": "critical"}
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE", **quiet}


def at_address(address: str) -> DaskEngine:
    """The workers of a scheduler that runs already.

    Raises:
        UsageError: E-BAT-13 it cannot be reached, has no workers, or they have another version of medldm.
    """
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            "E-BAT-13",
            f"There is no Dask scheduler at {address}.",
            why=f"{type(error).__name__}: {error}",
            fix="Start one with dask scheduler, and workers with dask worker ADDRESS --nthreads 1.",
        ) from error
    return checked(DaskEngine(client))


def checked(engine: DaskEngine, wait: float = _CONNECT_SECONDS) -> DaskEngine:
    """The engine, when it has workers with this version of medldm."""
    client = engine._client
    try:
        client.wait_for_workers(1, timeout=wait)
    except TimeoutError as error:
        engine.close()
        raise UsageError(
            "E-BAT-13",
            f"The scheduler at {client.scheduler.address if client.scheduler else '?'} has no worker.",
            why=f"None came within {wait:g} s.",
            fix="Start workers with dask worker ADDRESS --nthreads 1, in an environment with medldm.",
        ) from error
    versions: dict[str, Any] = client.run(_version, on_error="return")
    others = {str(one) for one in versions.values() if one != medldm.__version__}
    if others:
        engine.close()
        raise ComponentMissing(
            "E-BAT-13",
            f"The workers have another medldm: {', '.join(sorted(others))}; here it is {medldm.__version__}.",
            why="Results of two versions would be mixed.",
            fix="Start the workers in the same environment.",
        )
    return engine


def _version() -> str:
    return medldm.__version__
