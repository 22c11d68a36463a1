"""Errors on their way to the person: what, why, what to do, a code, and a truthful exit code."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from medldm.errors import MedldmError

INTERRUPTED = 130


@contextmanager
def when_interrupted(tell: Callable[[], str]) -> Iterator[None]:
    """Let a command say what an interruption leaves behind, and what to do next.

    Args:
        tell: a sentence or two, asked for when ``KeyboardInterrupt`` passes.

    Raises:
        KeyboardInterrupt: the one that passed, with that text.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(tell()) from stop


def guarded(work: Callable[[], object], *, as_json: bool, verbose: bool = False, may_exit: bool = False) -> int:
    """Run a command and turn whatever it raises into a message and an exit code.

    Args:
        work: the command.
        as_json: print the error as one JSON event on standard output.
        verbose: print the traceback of an unexpected error too.
        may_exit: let ``SystemExit`` pass, with which typer ends; elsewhere it is an error as any other, for it would
            end a command with whatever exit code a component chose.
    """
    try:
        work()
        # What is still held back here would fail where nothing catches it.
        sys.stdout.flush()
    except MedldmError as error:
        report(error, as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt as stop:
        _print(f"error E-INT-01: {stop.args[0] if stop.args else 'Interrupted.'}", as_json, "E-INT-01")
        return INTERRUPTED
    except MemoryError:
        _print(
            "error E-MEM-02: Out of memory.\nhint: reconstruct fewer slices at a time with --slices.",
            as_json,
            "E-MEM-02",
        )
        return 5
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except BaseException as error:  # the outermost door: nothing may leave as a bare traceback
        if may_exit and isinstance(error, SystemExit):
            raise
        if _out_of_device_memory(error):
            _print(
                "error E-MEM-03: The GPU is out of memory.\nhint: --device cpu, or fewer --slices.", as_json, "E-MEM-03"
            )
            return 5
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            text = "error E-OUT-05: Writing failed: no space is left.\nhint: free some, or let the output go elsewhere."
            _print(text, as_json, "E-OUT-05")
            _let_go_of_output()
            return 1
        hint = "report it with the traceback that follows." if verbose else "run again with -v and report it."
        text = f"error E-BUG-01: Unexpected {type(error).__name__}: {error}\nhint: {hint}"
        _print(text, as_json, "E-BUG-01")
        if verbose:
            traceback.print_exc()
        return 1
    return 0


def report(error: MedldmError, *, as_json: bool) -> None:
    """Print a refusal: to standard error for people, to standard output as JSON for programs."""
    if as_json and _told({"event": "error", **error.as_dict()}):
        return
    lines = [f"error {error.code}: {error.what}"]
    lines += [error.why] if error.why else []
    lines += [f"hint: {error.fix}"] if error.fix else []
    sys.stderr.write("\n".join(lines) + "\n")


def _print(text: str, as_json: bool, code: str) -> None:
    if not (as_json and _told({"event": "error", "code": code, "what": text.splitlines()[0]})):
        sys.stderr.write(text + "\n")


def _told(event: Mapping[str, object]) -> bool:
    """Print an event on standard output; False where that takes nothing any more, a full disk for example."""
    try:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except OSError:
        _let_go_of_output()
        return False
    return True


def _let_go_of_output() -> None:
    """Where standard output takes nothing, send what it holds back nowhere: its end would fail over it once more."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _out_of_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
