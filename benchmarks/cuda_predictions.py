"""What the last changes of the CUDA kernels should gain, predicted from counts of instructions and bytes.

    python benchmarks/cuda_predictions.py [--out FILE] [--rig RIG]

Nothing here was measured. A kernel takes the longest of three times on an H200:

    instructions of all warps / (528 schedulers x 1.9 GHz x 0.7)
    bytes through the L2 cache / 5.5 TB/s
    bytes of global memory / 4.3 TB/s

and an op the sum over its kernels. Launches and latencies are not counted, so small ops take longer than this; the
order of two formulations can be trusted more than the times (+-40 %). Instructions of loops were read from the SASS
for sm_90 (benchmarks/results/cuda_resources.md has those of today): before the change the innermost loops alone, after
it everything with both ways of a branch, so that the gain is not made larger. The plain formulation stands at the
machine's limits: products at 60 TFLOPS, copies at 4.3 TB/s. No GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import NamedTuple

import faces
import torch
from torch import Tensor

ISSUED = 528 * 1.9e9 * 0.7  # instructions of a warp per second
L2, MEMORY, PRODUCTS = 5.5e12, 4.3e12, 60e12  # bytes, bytes, floating-point operations per second
SIZE = 4  # bytes of a float32
RUN = 32  # pairs of shapes that are left out together
VERTICES = 16  # of a tile of the mass


class Prediction(NamedTuple):
    """A row: the seconds of an op before and after the changes, and of the best plain formulation."""

    op: str
    before: float
    after: float
    plain: str
    plain_time: float


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


# -- the table ---------------------------------------------------------------------------------------------------------


def predictions(face: Callable[[int], faces.Face]) -> list[Prediction]:
    """All rows."""
    rows = []
    for num_vertices in (faces.FACE, faces.ALL):
        shapes = face(num_vertices).blendshapes
        runs, num_shapes = kept_runs(shapes), len(shapes)
        for num_sequences in (1, 8, 64, 1024):
            sizes = num_sequences, num_vertices, num_shapes
            rows.append(
                Prediction(
                    f"mass, forward, S = {num_sequences}, N = {num_vertices}, K = {num_shapes}",
                    mass_before(*sizes),
                    mass_after(*sizes, runs),
                    "kept table of products of pairs, times the masses",
                    mass_plain(*sizes),
                )
            )
        rows.append(_projection_row(face(num_vertices)))
    sizes = 1024, 32, 55, 55
    rows.append(
        Prediction(
            "products of the explicit rollout, 1024 sequences of 32 frames, K = 55",
            product(*sizes, 4 * 139 + 4 * 183),
            product(*sizes, 536),
            "batched product",
            product_plain(*sizes),
        )
    )
    rows.append(
        Prediction(
            "inverses of 1024 masses, K = 55",
            inverses_before(1024, 55),
            inverses_after(1024, 55),
            "batched inverse",
            inverses_plain(1024, 55),
        )
    )
    entries = 1024 * 55**2
    rows.append(
        Prediction(
            "symmetric parts of the gradients of 1024 masses, 32 frames, K = 55",
            symmetric_parts(entries / 32, 7 * 125 + 200, 1024, 55),
            symmetric_parts(1024 * 55 * 2, 135, 1024, 55),
            "compiled sum with the transpose",
            3 * entries * SIZE / MEMORY,
        )
    )
    frames = 1024 * 32
    rows.append(
        Prediction(
            "gradients of 1024 x 32 masses, one per frame, K = 55",
            kernel(frames * 55**2 / 32 * 155, memory=frames * 55**2 * SIZE),
            kernel(frames * 2 * (55 * 12 + 60), memory=frames * 55**2 * SIZE),
            "compiled products of pairs",
            frames * 55**2 * SIZE / MEMORY,
        )
    )
    for num_sequences in (64, 1024):
        sizes = num_sequences, 32, 55
        rows.append(
            Prediction(
                f"steps of the semi-implicit rollout with D and K, {num_sequences} sequences of 32 frames, K = 55",
                elastic_steps(*sizes, elastic_before(55)),
                elastic_steps(*sizes, 196),
                "batched products, frame by frame",
                elastic_plain(*sizes),
            )
        )
        sizes = num_sequences, 32, 55, 78
        rows.append(
            Prediction(
                f"products of the modal rollout, {num_sequences} sequences of 32 frames, K = 55, 26 muscles",
                modal_steps(*sizes, (198, 160)),
                modal_steps(*sizes, (102, 79)),
                "products, and a compiled recurrence",
                modal_plain(*sizes),
            )
        )
    for channels in (3, 16):
        sizes = 5, 32, faces.FACE, channels
        rows.append(
            Prediction(
                f"recurrence of the convolution, 6 terms, 32 frames, {channels} channels, N = {faces.FACE}",
                recurrence(*sizes, (149, 66, 377)),
                recurrence(*sizes, (89, 32, 399)),
                "compiled gather",
                recurrence_plain(*sizes),
            )
        )
    return rows


def _projection_row(face: faces.Face) -> Prediction:
    num_vertices, num_shapes = face.rig.num_vertices, len(face.blendshapes)
    counts = face.distribution.col.bincount()
    return Prediction(
        f"projection with P learned, forward, N = {num_vertices}, K = {num_shapes}",
        projection(counts, num_shapes, 4, 102),
        projection(counts, num_shapes, 8, 118),
        "products with a dense P",
        product_plain(3, num_shapes, len(counts), num_vertices),
    )


def table(rows: list[Prediction]) -> list[str]:
    """The rows as lines of Markdown, in microseconds."""
    lines = [
        "| op, float32 | before [us] | after [us] | plain, at the limits [us] | plain formulation |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        times = " | ".join(f"{seconds * 1e6:.3g}" for seconds in (row.before, row.after, row.plain_time))
        lines.append(f"| {row.op} | {times} | {row.plain} |")
    return lines


# Read from what nvcc 13.0 makes for sm_90; none spills, or has generic accesses in its loops.
_CODE = """\
| float32 kernels, sm_90 | registers | instructions of the loop | of them multiplications | what the loop does |
|---|---|---|---|---|
| mass before, `sum_pairs_kernel<8>` | 80 | 68 | 44 | 4 pairs x 8 sequences, a vertex |
| mass after, to 16 sequences, `sum_few_kernel<8>` | 204 | 192 | 176 | 16 pairs x 8 sequences, a vertex |
| mass after, more, `sum_many_kernel<64>` | 128 | 1736 | 1072 | 8 pairs x 8 sequences, 16 vertices, and loads |
| product before | 166 | 183, and 4 of 139 | 128 | 4 x 4 results, 4 steps; loads of 16 steps |
| product after | 72 | 536 | 256 | 4 x 4 results, 16 steps, and loads |
| inverse before, `prepare_kernel` | 80 | 86, and 85 | 4, and 16 | 4 entries of the factor; 16 terms of its product |
| inverse after, `prepare_small_kernel<64>` | 239 | 235 | 132 | a pivot, one of two warps |
| symmetric part before, `symmetric_sum_kernel` | 29 | 7 x 125 and 200, no loop | 0 | 32 entries, 8 warps, 7 idle |
| symmetric part after | 38 | 135, no loop | 0 | up to 32 entries of a row by a warp |
| gradient of a mass per frame before, `frame_gradient_kernel` | 22 | 155, no loop | 3 | 32 entries |
| gradient of a mass per frame after | 30 | 48 | 8 | 4 x 32 entries |
| elastic step before, `rollout_kernel` | 64 | 69 | 16 | 16 terms of a product, of them 32 loads |
| elastic step after, matrices in registers | 80 | 196 | 51 | a frame of 8 rows, of it 12 loads for products |
| products in modes before, `rollout_kernel` | 80 | 99 of forces, 80 of modes | 16 | 4 frames x 2 columns, 2 terms |
| products in modes after | 80 | 102 of forces, 79 of modes | 32 | 4 frames x 2 columns, 4 terms |
| projection before, `collect_kernel` | 40 | 102 | 24 | 32 entries of P, 4 shapes, 3 loads on their way |
| projection after | 64 | 118 | 24 | 32 entries of P, 8 shapes, 24 loads on their way |
| recurrence before, `step_kernel` | 40 | 149 | 16 | 4 entries of S, 4 frames |
| recurrence after | 40 | 89 | 16 | the same |
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where the table goes; the terminal if not given")
    parser.add_argument("--rig", type=Path, help="of ICT-FaceKit; else BIOMECHAU_TEST_DATA, else the built-in face")
    options = parser.parse_args(arguments)
    path = faces.rig_path(options.rig)
    given = " ".join(sys.argv[1:] if arguments is None else arguments)
    lines = [
        f"Command: `python benchmarks/cuda_predictions.py {given}`, {time.strftime('%F')}",
        "",
        "**Predicted, never measured: no kernel has run on a GPU.** The model stands in "
        "`benchmarks/cuda_predictions.py`: instructions over what an H200 issues (at 70 %), bytes over its bandwidths, "
        "without launches and latencies; +-40 %. *Plain* is the best other formulation at the limits of the machine, "
        "which it does not reach either. How many products are zero, and left out, was counted on "
        f"{faces.face(faces.ALL, path).source}.",
        "",
        *table(predictions(lambda num_vertices: faces.face(num_vertices, path))),
        "",
        *_CODE.splitlines(),
    ]
    text = "\n".join(lines) + "\n"
    if options.out is None:
        print(text, end="")
    else:
        options.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
