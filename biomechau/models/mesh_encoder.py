"""The mesh encoder (Eq. 7): a convolutional network over the vertices of a deformed face."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from biomechau.configured_module import ConfiguredModule
from biomechau.models._principal_components import EvenSample, PrincipalComponents
from biomechau.models.chebyshev import ChebyshevConv, scaled_laplacian
from biomechau.models.normalisation import Normalisation
from biomechau.models.pooling import MeshHierarchy

# Added to the standard deviation of each vertex and axis: the size of a scanner's noise [cm].
_FLOOR = 0.02
# Features of the linear path: some 50 shapes, and what identities leave in the meshes.
_NUM_COMPONENTS = 256


class MeshEncoder(ConfiguredModule):
    """z = E(u) (Eq. 7): displacements of a mesh to geometric features.

    For each pooling of the hierarchy: Chebyshev convolution, evaluated at the coarser level's vertices, bias, ReLU;
    then one dense layer. The coarsest level is a bottleneck: leave it a few hundred numbers.

    Args:
        hierarchy: the meshes, ``MeshHierarchy.from_rig(rig)``; ``num_input_vertices=1200`` is several times faster on a
            CPU than all vertices of a rig.
        latent_size: Z.
        filters: channels after each convolution, one per pooling.
        num_terms: Chebyshev polynomials of each convolution.
        latent_relu: apply a ReLU to the latent.
        linear_path: add a linear map of the meshes' principal components to the latent. Displacements are nearly
            linear in the coefficients, and a linear path generalises better to new faces than the convolutions alone.
            It is zero before :meth:`fit_normalisation`.
        mirror: (N,) int64, the vertex on the other side of each vertex of the rig, and (3, 3), the reflection of
            displacements. With them the encoder also reads the mirror image of each mesh, with the same weights, and
            returns both views.

    Attributes:
        vertices: (N_in,) int64, the rig's vertices that are read, ascending; with a mirror the finest level's and
            those on the other side.
        normalisation: of each input vertex and axis.
        components: principal components of the normalised meshes; None without a linear path.

    Raises:
        ValueError: a number of filters other than that of the poolings, or a size that is not positive.
    """

    vertices: Tensor
    own: Tensor
    other: Tensor
    reflection: Tensor

    def __init__(
        self,
        hierarchy: MeshHierarchy,
        latent_size: int = 64,
        filters: Sequence[int] = (16, 16, 16, 32),
        num_terms: int = 6,
        latent_relu: bool = False,
        linear_path: bool = False,
        mirror: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        fine, *coarser = hierarchy.levels
        if len(filters) != len(coarser) or not filters:
            raise ValueError(f"filters must be one per pooling, got {len(filters)} for {len(coarser)} poolings")
        if latent_size < 1:
            raise ValueError(f"latent_size must be at least 1, got {latent_size}")
        self.hierarchy = hierarchy
        self.latent_relu = latent_relu
        self.mirrored = mirror is not None
        vertices = fine.kept
        if mirror is not None:
            other, reflection = mirror
            vertices = torch.cat([fine.kept, other[fine.kept]]).unique()
            for name, view in (("own", fine.kept), ("other", other[fine.kept])):
                self.register_buffer(name, torch.searchsorted(vertices, view), persistent=False)
            self.register_buffer("reflection", reflection.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("vertices", vertices, persistent=False)
        self.normalisation = Normalisation((fine.num_vertices, 3), _FLOOR)
        self.convolutions = nn.ModuleList(
            ChebyshevConv(before, after, num_terms, scaled_laplacian(level.edges, level.num_vertices))
            for before, after, level in zip((3, *filters[:-1]), filters, hierarchy.levels[:-1], strict=True)
        )
        for number, level in enumerate(coarser):
            self.register_buffer(f"kept_{number}", level.kept, persistent=False)
        self.latent = nn.Linear(coarser[-1].num_vertices * filters[-1], latent_size)
        self.components = PrincipalComponents(3 * fine.num_vertices, _NUM_COMPONENTS) if linear_path else None
        self.linear_path = nn.Linear(_NUM_COMPONENTS, latent_size, bias=False) if linear_path else None

    def configuration(self) -> dict[str, Any]:
        """The digest of the meshes, whether the latent has a ReLU, and whether mirror images are read."""
        digest = hashlib.sha256()
        for tensor in self.hierarchy.tensors().values():
            digest.update(tensor.numpy().tobytes())
        # Encoders of version 0.1.0 had no mirror, and did not say so.
        views = {"mirrored": True} if self.mirrored else {}
        return {"latent_relu": self.latent_relu, "sha256 of the meshes": digest.hexdigest(), **views}

    @property
    def latent_size(self) -> int:
        """Z, the number of features."""
        return self.latent.out_features

    def select(self, displacements: Tensor) -> Tensor:
        """The displacements (..., N_in, 3) that the encoder reads, from those of the rig (..., N, 3) or unchanged.

        Raises:
            ValueError: a wrong shape.
        """
        full, few = self.hierarchy.num_vertices, len(self.vertices)
        if displacements.ndim < 2 or displacements.shape[-2] not in (full, few) or displacements.shape[-1] != 3:
            raise ValueError(
                f"displacements must have shape (..., {full}, 3), or (..., {few}, 3) for the vertices that the "
                f"encoder reads, got {tuple(displacements.shape)}"
            )
        return displacements if displacements.shape[-2] == few else displacements[..., self.vertices, :]

    def views(self, displacements: Tensor) -> Tensor:
        """What the network reads of u (..., T, N_in, 3): (..., T, N', 3) of the finest level.

        With a mirror it is (..., 2, T, N', 3): the mesh and its mirror image.
        """
        if not self.mirrored:
            return displacements
        return torch.stack([displacements[..., self.own, :], displacements[..., self.other, :] @ self.reflection], -4)

    def fit_normalisation(self, displacements: Tensor | Iterable[Tensor], modes: Tensor | None = None) -> None:
        """Compute mean and standard deviation per vertex and axis, and the components, from training meshes.

        Args:
            displacements: (..., N, 3) or (..., N_in, 3), one tensor or several [cm].
            modes: (I, N_in, 3), modes that augmentation adds with independent weights N(0, 1) [cm].

        Raises:
            ValueError: a wrong shape, no meshes, or values that are not finite.
        """
        chunks = [displacements] if isinstance(displacements, Tensor) else displacements
        sample = EvenSample()
        seen = (self.views(self.select(chunk)) for chunk in chunks)
        if modes is not None and self.mirrored:  # half of each in either view
            modes = self.views(modes).flatten(0, 1) / 2**0.5
        noise = None if modes is None else modes.square().sum(0).sqrt()
        self.normalisation.fit(sample.passing(seen, ndim=2), noise)
        if self.components is not None:
            scaled = None if modes is None else (modes / self.normalisation.scale).flatten(1)
            self.components.fit(self.normalisation(sample.frames.to(self.normalisation.mean)).flatten(1), scaled)

    def forward(self, displacements: Tensor) -> Tensor:
        """u [cm], (..., N, 3) or (..., N_in, 3), to z (..., Z).

        With a mirror u (..., T, N, 3) becomes both views (..., 2, T, Z).

        Raises:
            ValueError: a wrong shape.
        """
        normal = self.normalisation(self.views(self.select(displacements)))
        x = normal
        for number, convolution in enumerate(self.convolutions):
            x = convolution(x, getattr(self, f"kept_{number}")).relu()  # only at the vertices that are kept
        z = self.latent(x.flatten(-2))
        if self.linear_path is not None and self.components is not None:
            z = z + self.linear_path(self.components(normal.flatten(-2)))
        return z.relu() if self.latent_relu else z
