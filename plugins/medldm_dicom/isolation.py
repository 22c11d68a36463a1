"""Decode compressed pixels in a process of its own: codecs are native parsers of data that nobody vouches for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from medldm_dicom.codecs import check_decoder, decode
from medldm_dicom.header import Header

TIMEOUT_S = 300.0
# Interpreter, numpy and codec libraries map about 1 GiB; codecs hold a few copies of the image.
_PROCESS_BYTES = 4 * 2**30
_COPIES = 8


class DecoderStopped(RuntimeError):
    """The decoding process crashed, ran too long or could not decode."""


class Decoder:
    """Gives the stored pixels of a file: native ones here, compressed ones from a worker that is started once.

    Args:
        timeout_s: for one file.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.oddities = 0
        self._timeout_s = timeout_s
        self._worker: subprocess.Popen[bytes] | None = None
        self._memory = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, header: Header) -> NDArray[Any]:
        """Stored pixels, (frame, row, column) or fewer axes.

        Raises:
            ComponentMissing: ``E-DCM-20``, naming the package to install.
            DecoderStopped: the worker gave no pixels.
        """
        check_decoder(header)
        # pydicom decodes RLE itself, in Python.
        if not header.syntax.is_compressed or header.syntax in {DeflatedExplicitVRLittleEndian, RLELossless}:
            return decode(header)
        return self._ask(header)

    def _ask(self, header: Header) -> NDArray[Any]:
        memory = _PROCESS_BYTES + _COPIES * header.expected_bytes
        if self._worker is None or memory > self._memory:
            self._stop()
            self._start(memory)
        worker = self._worker
        assert worker is not None and worker.stdin is not None and worker.stdout is not None
        alarm = threading.Timer(self._timeout_s, worker.kill)
        alarm.start()
        try:
            wish = {"file": str(header.file.resolve()), "syntax": str(header.syntax)}
            worker.stdin.write(json.dumps(wish).encode() + b"\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            answer: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"error": "the process ended"}
            if "error" in answer:
                raise DecoderStopped(answer["error"])
            dtype = np.dtype(answer["dtype"])
            length = int(np.prod(answer["shape"])) * dtype.itemsize
            data = worker.stdout.read(length)
        except (OSError, ValueError) as failure:
            raise DecoderStopped("the process ended") from failure
        finally:
            alarm.cancel()
        if len(data) != length:
            raise DecoderStopped("the process ended")
        self.oddities += int(answer["oddities"])
        return np.frombuffer(data, dtype=dtype).reshape(answer["shape"])

    def _start(self, memory: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # One thread a library: each maps memory of its own, which the limit counts.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._memory = memory
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "medldm_dicom.codec_worker", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.kill()
        worker.communicate()
