"""Workers that are jobs of Slurm, through dask-jobqueue."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Client

from medldm.batch.dask_engine import _CONFIG, DaskEngine, checked
from medldm.errors import UsageError

# Option -> what dask-jobqueue calls it.
_NAMES = {
    "queue": "queue",
    "account": "account",
    "walltime": "walltime",
    "memory": "memory",
    "cores": "cores",
    "interface": "interface",
    "python": "python",
    "log-directory": "log_directory",
    "local-directory": "local_directory",
}
# Lines of their own: `gres=gpu:1` is `#SBATCH --gres=gpu:1`.
_DIRECTIVES = ("gres", "constraint", "qos", "reservation", "exclude", "nodelist", "partition")
_DEFAULTS: Mapping[str, Any] = {"cores": "4", "memory": "16GB", "walltime": "08:00:00"}
# A queue may be long.
_PATIENCE_SECONDS = 24 * 3600.0


def slurm_options(assignments: Sequence[str]) -> dict[str, Any]:
    """``walltime=08:00:00`` and the like as arguments of dask-jobqueue.

    Raises:
        UsageError: E-BAT-20 one is not known.
    """
    chosen = dict(_DEFAULTS)
    directives, prologue = [], []
    for one in assignments:
        key, equals, value = (part.strip() for part in one.partition("="))
        known = (*_NAMES, *_DIRECTIVES, "setup")
        if not equals or not value or key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise UsageError(
                "E-BAT-20",
                f"--slurm {one!r} is not known; known are {', '.join(known)}, each with =VALUE.",
                fix=f"Did you mean {close[0]!r}?" if close else "For example: --slurm walltime=08:00:00",
            )
        if key == "setup":
            prologue.append(value)
        elif key in _DIRECTIVES:
            directives.append(f"--{key}={value}")
        else:
            chosen[_NAMES[key]] = value
    chosen["cores"] = int(chosen["cores"])
    return {**chosen, "job_extra_directives": directives, "job_script_prologue": prologue}


def _job(assignments: Sequence[str]) -> dict[str, Any]:
    """Arguments of a job: one process of one thread, since a scan takes all cores of its job."""
    options = slurm_options(assignments)
    threads = os.environ.get("OMP_NUM_THREADS", str(options["cores"]))
    options["job_script_prologue"].append(f"export OMP_NUM_THREADS={threads} OMP_WAIT_POLICY=PASSIVE")
    return {
        **options,
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard"],
        "job_name": "medldm-batch",
        "death_timeout": 300,
    }


def job_script(assignments: Sequence[str]) -> str:
    """The script that would be given to ``sbatch``, once for every worker; its scheduler is that of the run."""
    with dask.config.set(_CONFIG):
        return str(SLURMJob("tcp://SCHEDULER:PORT", name="medldm-batch", **_job(assignments)).job_script())


def as_jobs(workers: int, assignments: Sequence[str]) -> DaskEngine:
    """So many workers, each a job of Slurm; one that ends is replaced as long as the batch runs."""
    with dask.config.set(_CONFIG):
        # The dashboard is for those who are on this machine, or come through a tunnel.
        scheduler = {"dashboard_address": "127.0.0.1:0"}
        cluster = SLURMCluster(silence_logs=60, scheduler_options=scheduler, **_job(assignments))
        cluster.adapt(minimum_jobs=workers, maximum_jobs=workers, interval="5s")
        client = Client(cluster, timeout=60)
    return checked(DaskEngine(client, cluster), wait=_PATIENCE_SECONDS)
