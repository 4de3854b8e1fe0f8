"""Kel is the springs of the mesh seen from the coefficients."""

import pytest
import scipy.sparse
import torch

from biomechau.physics._elastic import apply_laplacian, edge_laplacian, edge_stiffness, projected_stiffness
from biomechau.rig.face_rig import FaceRig


def laplacian_of(rig: FaceRig) -> scipy.sparse.csr_matrix:
    return edge_laplacian(rig.edges, edge_stiffness(rig), rig.num_vertices)


def test_kel_is_the_sum_over_edges(tiny_rig: FaceRig) -> None:
    shapes, k = tiny_rig.blendshapes.double(), edge_stiffness(tiny_rig)
    stretch = shapes[:, tiny_rig.edges[:, 0]] - shapes[:, tiny_rig.edges[:, 1]]
    expected = torch.einsum("kea,e,lea->kl", stretch, k, stretch)
    torch.testing.assert_close(projected_stiffness(shapes, laplacian_of(tiny_rig)), expected, rtol=1e-12, atol=1e-12)


def test_stiffness_is_one_over_the_length(tiny_rig: FaceRig) -> None:
    ends = tiny_rig.neutral[tiny_rig.edges[5]].double()
    assert float(edge_stiffness(tiny_rig)[5] * (ends[0] - ends[1]).norm()) == pytest.approx(1)


@pytest.mark.parametrize("rig_name", ["tiny_rig", "ict_rig"])
def test_kel_is_symmetric_positive_semi_definite(request: pytest.FixtureRequest, rig_name: str) -> None:
    rig: FaceRig = request.getfixturevalue(rig_name)
    kel = projected_stiffness(rig.blendshapes, laplacian_of(rig))
    assert torch.equal(kel, kel.T)
    values = torch.linalg.eigvalsh(kel)
    assert values[0] > -1e-12 * values[-1]


def test_translations_stretch_nothing(tiny_rig: FaceRig) -> None:
    """A rigid translation feels no generalized force, whatever the face does."""
    rigid = torch.eye(3, dtype=torch.float64)[:, None, :].expand(3, tiny_rig.num_vertices, 3)
    shapes = torch.cat([tiny_rig.blendshapes.double(), rigid])
    kel = projected_stiffness(shapes, laplacian_of(tiny_rig))
    torch.testing.assert_close(kel[-3:], torch.zeros(3, len(shapes), dtype=torch.float64), rtol=0, atol=1e-12)
    assert kel[:-3, :-3].diagonal().min() > 1e-3


def test_the_laplacian_acts_on_each_axis_and_batch(tiny_rig: FaceRig) -> None:
    laplacian = laplacian_of(tiny_rig)
    field = torch.randn(2, 4, tiny_rig.num_vertices, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    dense = torch.from_numpy(laplacian.toarray())
    torch.testing.assert_close(apply_laplacian(laplacian, field), torch.einsum("ij,sqja->sqia", dense, field))


def test_an_edge_without_length_is_refused(tiny_rig: FaceRig) -> None:
    neutral = tiny_rig.neutral.clone()
    neutral[1] = neutral[0]
    with pytest.raises(ValueError, match="edge of vertices 0 and 1 has no length"):
        edge_stiffness(FaceRig(neutral, tiny_rig.faces, tiny_rig.blendshapes, tiny_rig.names))
