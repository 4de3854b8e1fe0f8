"""The differentiable ops. Every one has a plain-torch twin of the same signature in ``ops.reference``."""

from biomechau.ops import reference as reference
from biomechau.ops.reference import (
    distribute_forces as distribute_forces,
    euler_rollout as euler_rollout,
    force_projection as force_projection,
    generalized_mass as generalized_mass,
    reduced_projection as reduced_projection,
)
from biomechau.ops.sparse import SparseMatrix as SparseMatrix
