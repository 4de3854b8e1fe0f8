"""The order in which a convolution visits the vertices: neighbours come soon, and results do not depend on it."""

from __future__ import annotations

import torch
from ops.cases import assert_close
from ops.convolutions import convolution_problem, mesh_laplacian
from ops.test_layout_and_threads import threads as threads

from biomechau.ops import SparseMatrix


def test_neighbours_come_soon() -> None:
    laplacian = mesh_laplacian(900)
    order = laplacian.neighbourhood_order()
    assert order is not None
    assert torch.equal(order.sort().values, torch.arange(900))
    rank = torch.empty_like(order)
    rank[order] = torch.arange(900)
    distance = (rank[laplacian.row] - rank[laplacian.col]).abs().max()
    assert distance < 5 * 30 + 32  # the strip is 30 vertices wide, shuffled before
    assert (laplacian.row - laplacian.col).abs().max() > 700


def test_it_is_made_once_and_moves_along() -> None:
    laplacian = mesh_laplacian(50)
    assert laplacian.neighbourhood_order(compute=False) is None
    order = laplacian.neighbourhood_order()
    assert laplacian.neighbourhood_order() is order
    assert laplacian.with_values(2 * laplacian.val).neighbourhood_order(compute=False) is order
    assert torch.equal(laplacian.to(torch.float32).neighbourhood_order(compute=False), order)


def test_components_and_lone_vertices() -> None:
    two = torch.block_diag(mesh_laplacian(20).dense(), torch.zeros(3, 3), mesh_laplacian(30).dense())
    order = SparseMatrix.from_dense(two).neighbourhood_order()
    assert order is not None
    assert torch.equal(order.sort().values, torch.arange(53))


def test_results_do_not_depend_on_it() -> None:
    p = convolution_problem(num_vertices=300)
    laplacian = p["laplacian"]
    tensors = p["x"], p["weight"], p["bias"], laplacian.val, None, laplacian.crow, laplacian.col
    results = [
        torch.ops.biomechau.chebyshev_conv(*tensors, order)
        for order in (None, torch.randperm(300), laplacian.neighbourhood_order())
    ]
    assert_close(results[0], results[2])
    assert_close(results[1], results[2])


def test_new_values_are_looked_at_anew() -> None:
    laplacian = mesh_laplacian(40)
    assert laplacian.is_symmetric
    val = laplacian.val.clone()
    val[0] *= 2
    assert not laplacian.with_values(val).is_symmetric
