"""What tests of more than one file stand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from medldm.host import Host


@pytest.fixture(scope="session")
def host() -> Host:
    """All plugins that are installed."""
    from medldm.host import load_host

    return load_host()


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small scans to train on."""
    from training_scene import write_scans

    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def own_accelerator() -> Iterator[None]:
    """A test that sets device and precision by itself: accelerate keeps the first setting for the whole process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
