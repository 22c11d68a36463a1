"""Linear operators: spaces, algebra, norm, conjugate gradients, finite differences. No modality in it."""

from medldm.operators.conjugate_gradient import conjugate_gradient
from medldm.operators.finite_difference import FiniteDifference
from medldm.operators.linear import (
    Adjoint,
    Composition,
    Diagonal,
    Identity,
    LinearOperator,
    Scaled,
    Sum,
)
from medldm.operators.norm import operator_norm
from medldm.operators.per_slice import PerSlice
from medldm.operators.phase_constrained import PhaseConstrained
from medldm.operators.resample import Resample
from medldm.operators.shift_invariant import NearlyShiftInvariant, ShiftInvariantComposition
from medldm.operators.space import Space
from medldm.operators.sparse import SparseProduct, SparseRows
from medldm.operators.stacking import vstack

__all__ = [
    "Adjoint",
    "Composition",
    "Diagonal",
    "FiniteDifference",
    "Identity",
    "LinearOperator",
    "NearlyShiftInvariant",
    "PerSlice",
    "PhaseConstrained",
    "Resample",
    "Scaled",
    "ShiftInvariantComposition",
    "Space",
    "SparseProduct",
    "SparseRows",
    "Sum",
    "conjugate_gradient",
    "operator_norm",
    "vstack",
]
