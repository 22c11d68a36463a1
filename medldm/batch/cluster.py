"""Which engine a batch runs on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec

from medldm.batch.engine import Engine, InProcess
from medldm.errors import ComponentMissing, UsageError
from medldm.pipeline.events import Listener


def worker_count(text: str) -> int | None:
    """``--workers``: a number, or None for ``auto``.

    Raises:
        UsageError: E-BAT-20 it is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise UsageError("E-BAT-20", f"--workers {text!r} is no number of workers.", fix="--workers 4, or auto.")
    return int(text)


def cuda_devices() -> int:
    """How many GPUs there are; asked of torch, without holding one."""
    import torch

    return torch.cuda.device_count()


def start_engine(
    workers: int | None, cluster: str | None, slurm: Sequence[str], device: str, listeners: Sequence[Listener]
) -> Engine:
    """The engine that the options of ``medldm batch run`` name.

    Args:
        workers: how many; None for one a GPU, and one where there is none.
        cluster: None, ``local``, ``slurm`` or a scheduler's address.
        slurm: assignments of ``--slurm``.
        device: of the settings: where it is ``cpu``, no GPU is given to a worker.
        listeners: of the events of scans reconstructed in this process.

    Raises:
        ComponentMissing: E-BAT-11 the extra ``cluster`` is not installed.
        UsageError: E-BAT-13 no scheduler or worker is there; E-BAT-20 an option is not possible.
    """
    devices = cuda_devices() if device in ("auto", "cuda") else 0
    if workers is None:
        workers = max(1, devices)
    if cluster is None and workers == 1:
        return InProcess(listeners)
    require_cluster()
    if cluster in (None, "local"):
        from medldm.batch.dask_engine import on_this_machine

        return on_this_machine(workers, devices)
    if cluster == "slurm":
        from medldm.batch.slurm import as_jobs

        return as_jobs(workers, slurm)
    from medldm.batch.dask_engine import at_address

    assert cluster is not None
    return at_address(cluster)


def require_cluster() -> None:
    """Refuse where the packages of the extra are missing.

    Raises:
        ComponentMissing: E-BAT-11.
    """
    missing = [name for name in ("dask", "distributed", "dask_jobqueue") if find_spec(name) is None]
    if missing:
        raise ComponentMissing(
            "E-BAT-11",
            f"More than one worker needs packages that are not installed: {', '.join(missing)}.",
            fix="pip install 'medldm[cluster]', or --workers 1.",
        )
    os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__GIL__ENABLED", "False")
