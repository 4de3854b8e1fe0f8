"""How long CUDA kernels take on an H200, by counts of instructions and bytes. Nothing here was measured.

A kernel takes the longest of three times:

    instructions of all warps / (528 schedulers x 1.9 GHz x 0.7)
    bytes through the L2 cache / 5.5 TB/s
    bytes of global memory / 4.3 TB/s

and an op the sum over its kernels. Launches and latencies are not counted, so small ops take longer than this; the
order of two formulations can be trusted more than the times (+-40 %). Instructions of loops were read from the SASS
for sm_90 (benchmarks/results/cuda_resources.md has those of today): before the change the innermost loops alone, after
it everything with both ways of a branch, so that the gain is not made larger. The plain formulation stands at the
machine's limits: products at 60 TFLOPS, copies at 4.3 TB/s.
"""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

ISSUED = 528 * 1.9e9 * 0.7  # instructions of a warp per second
L2, MEMORY, PRODUCTS = 5.5e12, 4.3e12, 60e12  # bytes, bytes, floating-point operations per second
SIZE = 4  # bytes of a float32
RUN = 32  # pairs of shapes that are left out together
VERTICES = 16  # of a tile of the mass


def kernel(instructions: float, through_l2: float = 0, memory: float = 0) -> float:
    """Seconds of a kernel.

    Args:
        instructions: of all its warps.
        through_l2: bytes that it reads and writes.
        memory: those of them that are not in the L2 cache.
    """
    return max(instructions / ISSUED, through_l2 / L2, memory / MEMORY)


# -- the mass ----------------------------------------------------------------------------------------------------------


def kept_runs(blendshapes: Tensor) -> float:
    """Runs of 32 pairs of shapes per tile of 16 vertices that are not left out, on average."""
    active = (blendshapes != 0).any(2)
    n = len(active)
    pairs = [divmod(index, n + 1) for index in range(n * (n + 1) // 2)]
    pairs = [(r, r + c) if c < n - r else (n - 1 - r, c - 1) for r, c in pairs]  # as csrc/generalized_mass/cuda.h
    rows, cols = torch.tensor(pairs).T
    moved = active[rows] & active[cols]
    padded = torch.nn.functional.pad(moved, (0, -moved.shape[1] % VERTICES, 0, -len(moved) % RUN))
    runs = padded.reshape(len(padded) // RUN, RUN, -1, VERTICES)
    return runs.any(3).any(1).float().sum(0).mean().item()


def _pieces(moved: float, columns: float, loads: int, loops: tuple[int, int, int, int]) -> float:
    """Sums over the pieces; loops: loads that go together, instructions for them, for one load, outside of loops."""
    together, many, one, outside = loops
    return kernel(columns / 32 * (loads // together * many + loads % together * one + outside), moved * SIZE)


def mass_before(num_sequences: int, num_vertices: int, num_shapes: int) -> float:
    """Tiles of 32 x 32 pairs, eight sequences at a time."""
    down, groups = ceil(num_shapes / 32), ceil(num_sequences / 8)
    tiles = down * (down + 1) // 2
    pieces = max(1, min(ceil(1024 / (tiles * groups)), ceil(num_vertices / 128)))
    steps = pieces * ceil(ceil(num_vertices / pieces) / VERTICES)
    one = num_sequences == 1
    multiply = VERTICES * (66 / 2 if one else 68)  # with one sequence a loop takes two vertices
    load = 2 * 6 / 4 * 126 + (142 / 4 / 16 if one else 144 / 4 / 2)
    upper = num_shapes * (num_shapes + 1) / 2
    partial = pieces * num_sequences * upper
    first = kernel(tiles * groups * steps * 8 * (multiply + load), partial * SIZE)
    whole = num_sequences * num_shapes**2
    return first + _pieces((pieces + 1) * whole, 8 * whole, ceil(pieces / 8), (16, 88, 13, 483))


def mass_after(num_sequences: int, num_vertices: int, num_shapes: int, runs: float) -> float:
    """csrc/generalized_mass/few.cuh for 16 sequences and fewer, many.cuh for more; K <= 64."""
    few = num_sequences <= 16
    down = ceil(num_shapes / 4) if few else num_shapes
    squares = down * (down + 1) // 2
    fewest = ceil(squares / (160 if few else 256))
    tile = max(64, ceil(ceil(squares / fewest) / 32) * 32)
    tiles = ceil(squares / tile)
    tasks = tiles * ceil(num_sequences / (8 if few else 64))
    pieces = max(1, min(264 // tasks, ceil(num_vertices / 32)), min(1024 // tasks, num_vertices // 1024))
    length = ceil(num_vertices / pieces)
    steps = pieces * ceil(length / VERTICES)
    if few:
        one = num_sequences == 1
        shapes = ceil(down * 4 / (tile // (3 * VERTICES) * 12)) * 132
        per_step = shapes + (43 + 162 if one else 159 + 138)
        per_vertex, outside = (78, 390) if one else (192, 537)
        instructions = tasks * tile / 32 * (steps * per_step + pieces * (length * per_vertex + outside))
        slots = squares * 16
    else:
        groups = ceil(num_sequences / 64)
        # A step without products with masses; these are made by two warps for each run: 32 + 3 instructions a vertex.
        instructions = groups * (steps * (tiles * 8 * 502 + runs * 2 * VERTICES * (32 + 3)) + pieces * tiles * 8 * 1154)
        slots = squares
    partial = pieces * num_sequences * slots
    columns = num_sequences * tiles * tile
    moved = partial + num_sequences * num_shapes**2
    first = kernel(instructions, partial * SIZE)
    if few:  # 8 threads for each slot
        return first + _pieces(moved, 8 * 16 * columns, ceil(pieces / 8), (16, 96, 14, 818))
    return first + _pieces(moved, columns, pieces, (8, 37, 9, 818))


def mass_plain(num_sequences: int, num_vertices: int, num_shapes: int) -> float:
    """A table of all products of pairs of shapes, kept, times the masses."""
    pairs = num_shapes * (num_shapes + 1) / 2
    table = (pairs + num_sequences) * num_vertices * SIZE
    return max(2 * num_sequences * num_vertices * pairs / PRODUCTS, table / MEMORY)


# -- the rollout -----------------------------------------------------------------------------------------------------


def inverses_before(count: int, n: int) -> float:
    """A Cholesky factor and products of its inverse in shared memory, eight warps a matrix, runs of 32 columns."""
    runs = ceil(n / 32)
    factor = n * (n - 1) / 2 * runs * 86 / 4 + n * 8 * 60
    terms = sum(n - 1 - max(row, 32 * run) for row in range(n) for run in range(runs) if row < min(n, 32 * run + 32))
    return kernel(count * (factor + terms * 85 / 16), memory=2 * count * n * n * SIZE)


def inverses_after(count: int, n: int) -> float:
    """csrc/euler_rollout/prepare_small.cuh, 32 < n <= 64: two warps a matrix."""
    return kernel(count * 2 * (n * 235 + 2000), memory=2 * count * n * n * SIZE)


def elastic_steps(num_sequences: int, num_frames: int, n: int, per_frame: int) -> float:
    """Steps with damping and stiffness: a warp for each 8 rows; n <= 64.

    Args:
        per_frame: instructions of a warp.
    """
    return kernel(num_sequences * num_frames * ceil(n / 8) * per_frame, 5 * num_sequences * num_frames * n * SIZE)


def elastic_before(n: int) -> int:
    """Instructions of a warp and frame: as after it around the three products, of these 69 for 16 terms."""
    return 196 - 60 + 3 * (ceil(n / 4) | 1) * 69 // 16


def elastic_plain(num_sequences: int, num_frames: int, n: int) -> float:
    """Products of torch, frame by frame, that find three matrices of each sequence in the L2 cache."""
    return num_frames * 3 * num_sequences * n * n * SIZE / L2


def modal_steps(num_sequences: int, num_frames: int, n: int, num_inputs: int, loops: tuple[int, int]) -> float:
    """Products of csrc/modal_rollout/modal_rollout.cu: a warp owns four frames and 64 columns.

    Args:
        loops: instructions for four terms of forces times a matrix, and of modes times a matrix.
    """
    warps = num_sequences * ceil(num_frames / 4) * ceil(n / 64)
    moved = num_sequences * num_frames * (num_inputs + 3 * n) * SIZE
    return kernel(warps * ((num_inputs + n) * loops[0] + 2 * n * loops[1]) / 4, memory=moved)


def modal_plain(num_sequences: int, num_frames: int, n: int, num_inputs: int) -> float:
    """Four products of torch, and a compiled recurrence that reads and writes memory."""
    rows = num_sequences * num_frames
    return product_plain(1, rows, n, num_inputs) + 3 * product_plain(1, rows, n, n) + 3 * rows * n * SIZE / MEMORY


def symmetric_parts(warps: float, each: float, count: int, n: int) -> float:
    """Symmetric parts of the gradients of `count` matrices: read twice, written once."""
    moved = 3 * count * n * n * SIZE
    return kernel(warps * each, moved, moved)


def inverses_plain(count: int, n: int) -> float:
    """A batched inverse."""
    return max(2 * count * n**3 / 2 / PRODUCTS, 2 * count * n * n * SIZE / MEMORY)


# -- products and the recurrence ---------------------------------------------------------------------------------------


def product(batches: int, rows: int, cols: int, inner: int, per_step: int) -> float:
    """common/product.cuh: tiles of 32 x 32 results, two warps each, 16 entries of the sum at a time."""
    steps = batches * ceil(rows / 32) * ceil(cols / 32) * ceil(inner / 16)
    return kernel(steps * 2 * per_step, memory=batches * (rows * inner + inner * cols + rows * cols) * SIZE)


def product_plain(batches: int, rows: int, cols: int, inner: int) -> float:
    """A batched product of torch."""
    moved = batches * (rows * inner + inner * cols + rows * cols) * SIZE
    return max(2 * batches * rows * cols * inner / PRODUCTS, moved / MEMORY)


def recurrence(num_steps: int, num_frames: int, num_vertices: int, channels: int, loops: tuple[int, int, int]) -> float:
    """Steps of the convolution: 7 entries of S a row, four of them together.

    Args:
        loops: instructions for four entries, for one, and outside of loops.
    """
    warps = num_vertices * channels / 32 * ceil(num_frames / 4)
    moved = num_frames * num_vertices * channels * SIZE
    return num_steps * kernel(warps * (loops[0] + 3 * loops[1] + loops[2]), 8 * moved, 2 * moved)


def recurrence_plain(num_steps: int, num_frames: int, num_vertices: int, channels: int) -> float:
    """A gather that a compiler has fused: features read and written once, neighbours found in the cache."""
    moved = num_frames * num_vertices * channels * SIZE
    return num_steps * max(8 * moved / L2, 3 * moved / MEMORY)


# -- the projection --------------------------------------------------------------------------------------------------


def projection(counts: Tensor, num_shapes: int, group: int, loop: int) -> float:
    """csrc/force_projection/force_projection.cu, by muscle: each entry of P is read for `group` shapes at a time.

    Args:
        counts: entries of each muscle.
        group: shapes.
        loop: instructions for an entry of each lane and the group.
    """
    groups, entries = ceil(num_shapes / group), int(counts.sum())
    # 14.7 bytes of a shape for an entry, as whole sectors of the cache (counted); two indices, and a value by itself.
    moved = entries * (num_shapes * 14.7 + groups * (8 + 8 + 32))
    return kernel(int((counts / 32).ceil().sum()) * groups * loop, moved)
