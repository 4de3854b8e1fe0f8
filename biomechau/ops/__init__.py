"""The differentiable ops. Each has a plain-torch twin of the same signature in ``ops.reference``."""

from biomechau.ops import reference as reference
from biomechau.ops._backend import backends as backends
from biomechau.ops.chebyshev_conv import chebyshev_conv as chebyshev_conv
from biomechau.ops.distribute_forces import distribute_forces as distribute_forces
from biomechau.ops.euler_rollout import SCHEMES as SCHEMES, euler_rollout as euler_rollout
from biomechau.ops.force_projection import force_projection as force_projection
from biomechau.ops.generalized_mass import generalized_mass as generalized_mass
from biomechau.ops.modal_rollout import modal_rollout as modal_rollout
from biomechau.ops.modal_system import ModalSystem as ModalSystem
from biomechau.ops.packed_blendshapes import PackedBlendshapes as PackedBlendshapes
from biomechau.ops.reduced_projection import reduced_projection as reduced_projection
from biomechau.ops.sparse import SparseMatrix as SparseMatrix, Transpose as Transpose

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
