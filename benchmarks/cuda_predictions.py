"""What the last changes of the CUDA kernels should gain, predicted from counts of instructions and bytes.

    python benchmarks/cuda_predictions.py [--out FILE] [--rig RIG]

Nothing here was measured; the model stands in cuda_model.py. No GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import faces
from cuda_model import (
    MEMORY,
    SIZE,
    elastic_before,
    elastic_plain,
    elastic_steps,
    inverses_after,
    inverses_before,
    inverses_plain,
    kept_runs,
    kernel,
    mass_after,
    mass_before,
    mass_plain,
    modal_plain,
    modal_steps,
    product,
    product_plain,
    projection,
    recurrence,
    recurrence_plain,
    symmetric_parts,
)


class Prediction(NamedTuple):
    """A row: the seconds of an op before and after the changes, and of the best plain formulation."""

    op: str
    before: float
    after: float
    plain: str
    plain_time: float


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
        "`benchmarks/cuda_model.py`: instructions over what an H200 issues (at 70 %), bytes over its bandwidths, "
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
