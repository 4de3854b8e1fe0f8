"""The differentiable ops. Each has a plain-torch twin of the same signature in ``ops.reference``."""

from biomechau.ops import reference
from biomechau.ops._backend import backends
from biomechau.ops._check import SCHEMES
from biomechau.ops._modal_system import ModalSystem
from biomechau.ops._packed_blendshapes import PackedBlendshapes
from biomechau.ops._sparse import SparseMatrix, Transpose
from biomechau.ops.chebyshev_conv import chebyshev_conv
from biomechau.ops.distribute_forces import distribute_forces
from biomechau.ops.euler_rollout import euler_rollout
from biomechau.ops.force_projection import force_projection
from biomechau.ops.generalized_mass import generalized_mass
from biomechau.ops.modal_rollout import modal_rollout
from biomechau.ops.reduced_projection import reduced_projection

__all__ = [
    "SCHEMES",
    "ModalSystem",
    "PackedBlendshapes",
    "SparseMatrix",
    "Transpose",
    "backends",
    "chebyshev_conv",
    "distribute_forces",
    "euler_rollout",
    "force_projection",
    "generalized_mass",
    "modal_rollout",
    "reduced_projection",
    "reference",
]
