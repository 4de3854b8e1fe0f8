"""Kernels of biomechau: tensors and sizes in, nothing of torch linked.

A tensor is passed as itself, as (address, number of elements, dtype code), contiguous, or as None where it is left out.
The kernels read a contiguous copy of a tensor that is not contiguous; results must be contiguous. Codes are positions
in the tuples of names below: dtypes, schemes of a rollout, spans of its matrices, kinds of its faults. A place is a
number of CPU threads, or (CUDA device, address of a stream). Every size is compared with the others before memory is
touched (ValueError). A `workspace` is scratch memory of a call on a GPU, with as many elements as `<name>_workspace`
returns; the CPU kernels allocate their own (MemoryError).
"""

from torch import Tensor

_Buffer = Tensor | tuple[int, int, int] | None
_Place = int | tuple[int, int]

openmp: bool
cuda: bool
dtypes: tuple[str, ...]
schemes: tuple[str, ...]
spans: tuple[str, ...]
rollout_faults: tuple[str, ...]
fault_index_bits: int
symmetry_tolerance: float
modal_row_multiple: int
projection_block: int  # vertices of a tensor B that the CPU kernels of the projection take together

class DistributionIndex:
    def __init__(
        self,
        num_vertices: int,
        crow: _Buffer,
        col: _Buffer,
        muscle_crow: _Buffer,
        muscle_row: _Buffer,
        muscle_entry: _Buffer,
        num_muscles: int,
    ) -> None: ...

class PackedBlendshapes:
    def __init__(
        self,
        num_shapes: int,
        num_vertices: int,
        vertex_crow: _Buffer,
        shape_crow: _Buffer,
        vertex: _Buffer,
        shape: _Buffer,
        values: _Buffer,
    ) -> None: ...

class SortedEntries:
    def __init__(
        self, group_crow: _Buffer, muscle: _Buffer, list_crow: _Buffer, vertex: _Buffer, entry: _Buffer
    ) -> None: ...

class Graph:
    def __init__(self, num_vertices: int, crow: _Buffer, col: _Buffer, order: _Buffer) -> None: ...

class RolloutOperators:
    def __init__(
        self,
        num_sequences: int,
        num_frames: int,
        num_coordinates: int,
        mass: _Buffer,
        c0: _Buffer,
        v0: _Buffer,
        damping: _Buffer,
        stiffness: _Buffer,
        dt: float,
        scheme: int,
        mass_span: int,
        damping_span: int,
        stiffness_span: int,
    ) -> None: ...

class ModalSizes:
    def __init__(
        self,
        num_sequences: int,
        num_frames: int,
        num_coordinates: int,
        num_inputs: int,
        scheme: int,
        dt: float,
        has_modes: bool,
    ) -> None: ...

def distribute_forces_fwd(
    index: DistributionIndex,
    val: _Buffer,
    directions: _Buffer,
    num_frames: int,
    force: _Buffer,
    out: _Buffer,
    place: _Place,
) -> None: ...
def distribute_forces_bwd(
    index: DistributionIndex,
    val: _Buffer,
    directions: _Buffer,
    num_frames: int,
    force: _Buffer,
    grad_out: _Buffer,
    grad_val: _Buffer,
    grad_force: _Buffer,
    grad_directions: _Buffer,
    place: _Place,
) -> None: ...
def reduced_projection_fwd(
    index: DistributionIndex,
    val: _Buffer,
    directions: _Buffer,
    num_shapes: int,
    blendshapes: _Buffer,
    packed: PackedBlendshapes | None,
    sorted: SortedEntries | None,
    out: _Buffer,
    place: _Place,
) -> None: ...
def reduced_projection_bwd(
    index: DistributionIndex,
    val: _Buffer,
    directions: _Buffer,
    num_shapes: int,
    blendshapes: _Buffer,
    packed: PackedBlendshapes | None,
    sorted: SortedEntries | None,
    grad_out: _Buffer,
    grad_blendshapes: _Buffer,
    grad_val: _Buffer,
    grad_directions: _Buffer,
    place: _Place,
) -> None: ...
def apply_projection_fwd(
    num_frames: int,
    num_shapes: int,
    num_inputs: int,
    projection: _Buffer,
    force: _Buffer,
    out: _Buffer,
    place: _Place,
) -> None: ...
def apply_projection_bwd(
    num_frames: int,
    num_shapes: int,
    num_inputs: int,
    projection: _Buffer,
    force: _Buffer,
    grad_out: _Buffer,
    grad_projection: _Buffer,
    grad_force: _Buffer,
    workspace: _Buffer,
    place: _Place,
) -> None: ...
def apply_projection_bwd_workspace(num_frames: int, num_shapes: int, num_inputs: int) -> int: ...
def generalized_mass_fwd(
    num_sequences: int,
    num_vertices: int,
    num_shapes: int,
    scale: float,
    blendshapes: _Buffer,
    packed: PackedBlendshapes | None,
    mass: _Buffer,
    out: _Buffer,
    workspace: _Buffer,
    fault: _Buffer,
    place: _Place,
) -> int: ...
def generalized_mass_fwd_workspace(num_sequences: int, num_vertices: int, num_shapes: int) -> int: ...
def generalized_mass_bwd(
    num_sequences: int,
    num_vertices: int,
    num_shapes: int,
    scale: float,
    blendshapes: _Buffer,
    packed: PackedBlendshapes | None,
    mass: _Buffer,
    grad_out: _Buffer,
    grad_blendshapes: _Buffer,
    grad_mass: _Buffer,
    workspace: _Buffer,
    place: _Place,
) -> None: ...
def generalized_mass_bwd_workspace(num_sequences: int, num_shapes: int) -> int: ...
def euler_rollout_fwd(
    operators: RolloutOperators,
    force: _Buffer,
    c: _Buffer,
    v: _Buffer,
    acceleration: _Buffer,
    inverse: _Buffer,
    workspace: _Buffer,
    fault: _Buffer,
    place: _Place,
) -> tuple[int, int]: ...
def euler_rollout_fwd_workspace(operators: RolloutOperators) -> int: ...
def euler_rollout_bwd(
    operators: RolloutOperators,
    c: _Buffer,
    v: _Buffer,
    acceleration: _Buffer,
    inverse: _Buffer,
    grad_c: _Buffer,
    grad_v: _Buffer,
    grad_force: _Buffer,
    grad_mass: _Buffer,
    grad_c0: _Buffer,
    grad_v0: _Buffer,
    grad_damping: _Buffer,
    grad_stiffness: _Buffer,
    workspace: _Buffer,
    place: _Place,
) -> None: ...
def euler_rollout_bwd_workspace(operators: RolloutOperators) -> int: ...
def chebyshev_conv_fwd(
    graph: Graph,
    val: _Buffer,
    num_frames: int,
    num_terms: int,
    num_inputs: int,
    num_outputs: int,
    x: _Buffer,
    weight: _Buffer,
    bias: _Buffer,
    vertices: _Buffer,
    out: _Buffer,
    workspace: _Buffer,
    place: _Place,
) -> None: ...
def chebyshev_conv_fwd_workspace(
    num_vertices: int, num_frames: int, num_terms: int, num_inputs: int, num_outputs: int, num_kept: int | None
) -> int: ...
def chebyshev_conv_bwd(
    graph: Graph,
    val: _Buffer,
    num_frames: int,
    num_terms: int,
    num_inputs: int,
    num_outputs: int,
    x: _Buffer,
    weight: _Buffer,
    vertices: _Buffer,
    grad_out: _Buffer,
    grad_x: _Buffer,
    grad_weight: _Buffer,
    grad_bias: _Buffer,
    workspace: _Buffer,
    place: _Place,
) -> None: ...
def chebyshev_conv_bwd_workspace(
    num_vertices: int, num_frames: int, num_terms: int, num_inputs: int, num_outputs: int, num_kept: int | None
) -> int: ...
def modal_rollout_fwd(
    sizes: ModalSizes,
    constants: _Buffer,
    force: _Buffer,
    muscle_force: _Buffer,
    c0: _Buffer,
    v0: _Buffer,
    c: _Buffer,
    v: _Buffer,
    place: _Place,
) -> None: ...
def modal_rollout_bwd(
    sizes: ModalSizes,
    constants: _Buffer,
    grad_c: _Buffer,
    grad_v: _Buffer,
    grad_force: _Buffer,
    grad_muscle_force: _Buffer,
    grad_c0: _Buffer,
    grad_v0: _Buffer,
    place: _Place,
) -> None: ...
def same_kind(names: tuple[str, ...], *args: object) -> bool: ...
def cuda_refusal(device: int) -> str: ...
def isa() -> str: ...
def supported_isas() -> list[str]: ...
def select_isa(name: str) -> None: ...
