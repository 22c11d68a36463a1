"""What one invocation of the command line shares between its commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from medldm.cli.failure import guarded

if TYPE_CHECKING:
    from medldm.host import Host


@dataclass(frozen=True)
class Session:
    """The plugins this invocation may load."""

    allow: tuple[str, ...] | None = None
    block: tuple[str, ...] = ()

    def host(self) -> Host:
        """Load the plugins."""
        from medldm.host import load_host

        return load_host(self.allow, self.block)


def session_of(context: typer.Context) -> Session:
    """The session of a command's context."""
    return context.obj if isinstance(context.obj, Session) else Session()


def finish(work: Callable[[], object], *, as_json: bool, verbose: bool = False) -> None:
    """Run the body of a command and leave with its exit code."""
    if verbose:
        logging.getLogger("medldm").handlers.clear()
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
        for noisy in ("matplotlib", "PIL", "pydicom", "nibabel"):
            logging.getLogger(noisy).setLevel(logging.WARNING)  # their debug lines may quote headers
    code = guarded(work, as_json=as_json, verbose=verbose)
    if code:
        raise typer.Exit(code)
