"""The name of the component on whatever unexpected it raises: its author can be told, and the user knows whom."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from medldm.errors import MedldmError
from medldm.host.registry import Entry, sentence

_log = logging.getLogger(__name__)
# Frames of these tell an author nothing: their own line that led there does.
_NOT_OF_A_PLUGIN = {"medldm", "torch", "numpy", "pydantic", *sys.stdlib_module_names}


@contextmanager
def blamed(entry: Entry) -> Iterator[None]:
    """Run code of a component; what it raises unexpectedly names the component and its plugin.

    Refusals, interruptions and a lack of memory, that of a GPU too, pass as they are.

    Args:
        entry: of the component.

    Raises:
        MedldmError: ``E-PLG-17`` it raised anything else; the cause is attached, and logged for ``-v``.
    """
    try:
        yield
    except (MedldmError, MemoryError):
        raise
    except Exception as error:
        if _out_of_device_memory(error):
            raise
        _log.debug("%s raised", entry.subject, exc_info=True)
        raise MedldmError(
            "E-PLG-17",
            f"{entry.subject} raised {sentence(error)}",
            why=_place(error),
            fix=f"Report it to the author of the plugin {entry.plugin!r}, with the traceback that -v prints.",
        ) from error


def _place(error: Exception) -> str:
    """The innermost line of a plugin, which need not be the one that was called; empty where there is none."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] not in _NOT_OF_A_PLUGIN:
            return f"It happened in {module}, line {line}."
    return ""


def _out_of_device_memory(error: Exception) -> bool:
    # Nothing that lists plugins may wait for torch to be imported.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
