import pytest

from medldm.testing import PriorExample
from medldm.testing.contracts import PriorContract
from medldm_slice_ldm.examples import slice_diffusion


class TestSliceDiffusion(PriorContract):
    @pytest.fixture
    def example(self) -> PriorExample:
        return slice_diffusion()
