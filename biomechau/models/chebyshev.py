"""Chebyshev graph convolution over the vertices of a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from biomechau.ops import SparseMatrix, chebyshev_conv

if TYPE_CHECKING:
    from typing_extensions import Self


def scaled_laplacian(edges: Tensor, num_vertices: int) -> SparseMatrix:
    """2 L / lambda_max - I with L = I - D^-1/2 A D^-1/2 and lambda_max = 2, that is -D^-1/2 A D^-1/2.

    Its eigenvalues lie in [-1, 1]. A vertex without edges has an empty row.

    Args:
        edges: undirected edges, (E, 2) int64, each once.
        num_vertices: N.

    Returns:
        The symmetric operator, (N, N) float64.

    Raises:
        ValueError: edges of the wrong shape, indices outside [0, N), a duplicate edge or one from a vertex to itself.
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
        raise ValueError("edges must be unique")
    degree = torch.bincount(row, minlength=num_vertices)
    crow = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    root = degree.double().rsqrt()
    return SparseMatrix(crow, col, -root[row] * root[col], (num_vertices, num_vertices))


class ChebyshevConv(nn.Module):
    """y = sum_k T_k(S) x W_k + b, with T_0 = 1, T_1 = S, T_k = 2 S T_{k-1} - T_{k-2} the Chebyshev polynomials.

    S is the scaled Laplacian. Vertices up to num_terms - 1 edges away contribute; see ``ops.chebyshev_conv``.

    Args:
        in_channels: C, channels of x.
        out_channels: C', channels of y.
        num_terms: number of polynomials, T_0 to T_{num_terms - 1}.
        laplacian: S, symmetric (N, N), see :func:`scaled_laplacian`.

    Attributes:
        weight: (num_terms, C, C').
        bias: (C',).
        laplacian: S; moves with the layer, but is not part of its state.

    Raises:
        ValueError: a size that is not positive, or a laplacian that is not symmetric.
    """

    def __init__(self, in_channels: int, out_channels: int, num_terms: int, laplacian: SparseMatrix) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("num_terms", num_terms)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not laplacian.is_symmetric:
            raise ValueError("laplacian must be symmetric")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_terms = num_terms
        self.num_vertices = laplacian.shape[0]
        laplacian.neighbourhood_order()  # computed here, so that it exists when the layer is compiled
        self.laplacian = laplacian.with_values(laplacian.val.detach()).to(torch.get_default_dtype())
        self.weight = nn.Parameter(torch.empty(num_terms, in_channels, out_channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He initialisation over all terms, no bias."""
        bound = math.sqrt(6 / (self.num_terms * self.in_channels))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, vertices: Tensor | None = None) -> Tensor:
        """x (..., N, C) to y (..., N, C'), or to (..., P, C') at the vertices (P,) int64, ascending.

        Raises:
            ValueError: x of the wrong shape, or vertices that do not ascend within [0, N).
        """
        return chebyshev_conv(x, self.laplacian, self.weight, self.bias, vertices)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_terms={self.num_terms}, num_vertices={self.num_vertices}"

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        # The sparse matrix is neither a parameter nor a buffer: it is moved along with the layer here.
        super()._apply(fn, recurse)
        self.laplacian = self.laplacian.to(fn(self.laplacian.val))
        return self
