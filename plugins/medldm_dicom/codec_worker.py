"""The process in which compressed pixels are decoded; run as ``python -m medldm_dicom.codec_worker``.

It reads one JSON line for each file and answers with a JSON line and the raw pixels. What a codec prints never
mixes with the answers, and an address-space limit keeps a forged code stream from filling the memory.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medldm_dicom.codecs import decode
from medldm_dicom.header import Header
from medldm_dicom.quiet import quiet


def limit_memory(extra_bytes: int) -> None:
    """Bound the address space, where the platform can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (extra_bytes, hard))


def serve(requests: int, answers: int) -> None:
    """Answer until the requests end."""
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb") as out:
        for line in lines:
            wish = json.loads(line)
            header = Header(Path(wish["file"]), Dataset(), UID(wish["syntax"]), None)
            try:
                with quiet() as oddities:
                    pixels = np.ascontiguousarray(decode(header))
                answer = {"dtype": pixels.dtype.str, "shape": pixels.shape, "oddities": len(oddities)}
                data = pixels.tobytes()
            except Exception as failure:  # damaged pixel data make decoders fail in any way
                answer, data = {"error": type(failure).__name__}, b""
            out.write(json.dumps(answer).encode() + b"\n" + data)
            out.flush()


if __name__ == "__main__":
    limit_memory(int(sys.argv[1]))
    answers = os.dup(1)
    os.dup2(2, 1)
    serve(0, answers)
