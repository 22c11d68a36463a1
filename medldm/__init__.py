"""medldm: a plugin-based medical image reconstruction pipeline. Research use only.

Importing this module loads no torch; ``medldm.reconstruct`` and ``medldm.simulate`` do, when used.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from medldm.pipeline.reconstruct import reconstruct
    from medldm.pipeline.simulate import simulate

__version__ = "0.1.0"
__all__ = ["__version__", "hookimpl", "reconstruct", "simulate"]

logging.getLogger("medldm").addHandler(logging.NullHandler())
hookimpl = pluggy.HookimplMarker("medldm")


def __getattr__(name: str) -> Any:
    if name == "reconstruct":
        from functools import partial

        from medldm.pipeline.reconstruct import reconstruct
        from medldm.report import report_page

        return partial(reconstruct, pages=(report_page,))
    if name == "simulate":
        from medldm.pipeline.simulate import simulate

        return simulate
    raise AttributeError(f"module 'medldm' has no attribute {name!r}")
