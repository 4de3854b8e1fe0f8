"""Chebyshev graph convolution over the vertices of a mesh."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from biomechau.ops import SparseMatrix


def scaled_laplacian(edges: Tensor, num_vertices: int) -> SparseMatrix:
    """2 L / lambda_max - I with L = I - D^-1/2 A D^-1/2 and lambda_max = 2, that is -D^-1/2 A D^-1/2.

    Its eigenvalues lie in [-1, 1]. A vertex without edges has an empty row.

    Args:
        edges: undirected edges, (E, 2) int64, each once.
        num_vertices: N.

    Returns:
        The symmetric operator, (N, N) float64.

    Raises:
        ValueError: edges of another shape, indices outside [0, N), an edge given twice or from a vertex to itself.
    """
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape (E, 2), got {tuple(edges.shape)}")
    if edges.numel() and not 0 <= int(edges.min()) <= int(edges.max()) < num_vertices:
        raise ValueError(f"edges must lie in [0, {num_vertices}), got {int(edges.min())} to {int(edges.max())}")
    if bool((edges[:, 0] == edges[:, 1]).any()):
        raise ValueError("an edge must join two different vertices")
    row, col = torch.cat([edges, edges.flip(1)]).T
    order = torch.argsort(row * num_vertices + col)
    row, col = row[order], col[order]
    if bool((torch.diff(row * num_vertices + col) == 0).any()):
        raise ValueError("edges must be given once")
    degree = torch.bincount(row, minlength=num_vertices)
    crow = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    root = degree.double().rsqrt()
    return SparseMatrix(crow, col, -root[row] * root[col], (num_vertices, num_vertices))


class ChebyshevConv(nn.Module):
    """y = sum_k T_k(S) x W_k + b, with T_0 = 1, T_1 = S, T_k = 2 S T_{k-1} - T_{k-2} the Chebyshev polynomials.

    S is the scaled Laplacian. Vertices up to num_terms - 1 edges away contribute; nothing is ever (N, N) dense.

    Args:
        in_channels: C, channels of x.
        out_channels: C', channels of y.
        num_terms: number of polynomials, T_0 to T_{num_terms - 1}.
        laplacian: S, symmetric (N, N), see :func:`scaled_laplacian`.

    Attributes:
        weight: (num_terms, C, C').
        bias: (C',).

    Raises:
        ValueError: a size that is not positive, or a laplacian that is not symmetric.
    """

    crow: Tensor
    col: Tensor
    val: Tensor

    def __init__(self, in_channels: int, out_channels: int, num_terms: int, laplacian: SparseMatrix) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("num_terms", num_terms)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        _check_symmetric(laplacian)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_terms = num_terms
        self.num_vertices = laplacian.shape[0]
        # Three dense buffers, because a sparse one can neither be broadcast nor stored.
        self.register_buffer("crow", laplacian.crow, persistent=False)
        self.register_buffer("col", laplacian.col, persistent=False)
        self.register_buffer("val", laplacian.val.detach().to(torch.get_default_dtype()), persistent=False)
        self.weight = nn.Parameter(torch.empty(num_terms, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He initialisation over all terms, no bias."""
        bound = math.sqrt(6 / (self.num_terms * self.in_channels))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, C) to (..., N, C').

        Raises:
            ValueError: x of another shape.
        """
        if x.ndim < 2 or x.shape[-2:] != (self.num_vertices, self.in_channels):
            raise ValueError(f"x must have shape (..., {self.num_vertices}, {self.in_channels}), got {tuple(x.shape)}")
        # Vertices first, so that one sparse product serves all frames; free between layers, whose output is a view.
        first = x.movedim(-2, 0)
        operator = self.crow, self.col, self.val
        before, term = None, first.reshape(self.num_vertices, -1)
        out = self.bias
        for k, weight in enumerate(self.weight):
            if k > 0:
                product = _Product.apply(*operator, term)
                before, term = term, product if before is None else 2 * product - before
            out = torch.addmm(out, term.reshape(-1, self.in_channels), weight)
        return out.reshape(*first.shape[:-1], self.out_channels).movedim(0, -2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_terms={self.num_terms}, num_vertices={self.num_vertices}"


class _Product(torch.autograd.Function):
    """S x for a symmetric S (N, N) in CSR form and a dense x (N, C), whose gradient is S times that of the output."""

    @staticmethod
    def forward(ctx: Any, crow: Tensor, col: Tensor, val: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(crow, col, val)
        shape = (len(crow) - 1, len(crow) - 1)
        with warnings.catch_warnings():  # that CSR tensors are in beta, said once
            warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)
            matrix = torch.sparse_csr_tensor(crow, col, val, shape, check_invariants=False)
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, _Product.apply(*ctx.saved_tensors, grads[0].contiguous())


def _check_symmetric(matrix: SparseMatrix) -> None:
    other = matrix.transpose
    same = matrix.shape[0] == matrix.shape[1] and torch.equal(other.crow, matrix.crow)
    if not (same and torch.equal(other.row, matrix.col) and torch.equal(matrix.val[other.order], matrix.val)):
        raise ValueError("laplacian must be symmetric")
