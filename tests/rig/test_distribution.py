"""Where muscles pull: Eq. 1's matrix from the shapes of a rig, its coverage and overlap, fibre directions."""

from pathlib import Path

import pytest
import torch

from biomechau import ops
from biomechau.rig.distribution import Distribution, fibre_directions, muscle_displacements
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscle, Muscles


@pytest.fixture
def muscles(tiny_rig: FaceRig) -> Muscles:
    return Muscles.facs().match(tiny_rig.names).muscles


def test_each_column_is_the_displacement_over_its_peak(tiny_rig: FaceRig, muscles: Muscles) -> None:
    distribution = Distribution.from_rig(tiny_rig, muscles, threshold=0.0)
    assert distribution.muscles.names == muscles.names
    for column, muscle in zip(distribution.dense().T, muscles, strict=True):
        size = tiny_rig.blendshapes[tiny_rig.shape_indices(muscle.shapes)].sum(0).norm(dim=-1)
        torch.testing.assert_close(column, size / size.max())


def test_small_entries_are_dropped_and_peaks_kept(tiny_rig: FaceRig, muscles: Muscles) -> None:
    full = Distribution.from_rig(tiny_rig, muscles, threshold=0.0).dense()
    cut = Distribution.from_rig(tiny_rig, muscles, threshold=0.3)
    assert bool((cut.val >= 0.3).all())
    torch.testing.assert_close(cut.dense(), torch.where(full >= 0.3, full, 0))
    assert cut.nnz < int((full > 0).sum())
    assert torch.equal(cut.dense().amax(0), torch.ones(len(muscles)))


def test_the_default_table_warns_of_what_the_rig_lacks(tiny_rig: FaceRig) -> None:
    with pytest.warns(UserWarning, match=r"frontalis_lateralis_left \(browOuterUp_L\)") as caught:
        distribution = Distribution.from_rig(tiny_rig)
    assert "digastric" in distribution.muscles.names
    assert "frontalis_lateralis_left" in distribution.left_out
    # No known shape shows this one, so its absence is no surprise.
    assert "levator_anguli_oris_left" in distribution.left_out
    assert "levator_anguli_oris_left" not in str(caught[0].message)


def test_a_muscle_whose_shape_does_not_move_is_left_out(tiny_rig: FaceRig, muscles: Muscles) -> None:
    shapes = tiny_rig.blendshapes.clone()
    shapes[tiny_rig.names.index("jawOpen")] = 0
    still = FaceRig(tiny_rig.neutral, tiny_rig.faces, shapes, tiny_rig.names)
    with pytest.warns(UserWarning, match="digastric"):
        distribution = Distribution.from_rig(still, muscles)
    assert "digastric" not in distribution.muscles.names
    assert distribution.left_out == ("digastric",)


def test_a_rig_without_any_muscle_is_refused(tiny_rig: FaceRig) -> None:
    table = Muscles([Muscle("platysma", "both", "sheet", (21,), ())])
    with pytest.raises(ValueError, match="has shapes for none of the muscles"):
        Distribution.from_rig(tiny_rig, table)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_its_range_is_refused(tiny_rig: FaceRig, muscles: Muscles, threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must lie in"):
        Distribution.from_rig(tiny_rig, muscles, threshold)


def test_the_muscles_must_fit_the_columns(tiny_rig: FaceRig, muscles: Muscles) -> None:
    p = Distribution.from_rig(tiny_rig, muscles)
    with pytest.raises(ValueError, match="muscles must be"):
        Distribution(p.crow, p.col, p.val, p.shape, Muscles(muscles[:-1]))


def test_new_values_and_another_dtype_keep_the_muscles(tiny_rig: FaceRig, muscles: Muscles) -> None:
    p = Distribution.from_rig(tiny_rig, muscles)
    assert p.with_values(2 * p.val).muscles == p.muscles
    assert p.to(torch.float64).muscles == p.muscles


def test_coverage_counts_vertices() -> None:
    table = Muscles(Muscle(name, "both", "sheet", (1,), ("x",)) for name in ("wide", "narrow"))
    dense = torch.tensor([[1.0, 0.0], [0.5, 1.0], [0.2, 0.0], [0.0, 0.0]])
    sparse = ops.SparseMatrix.from_dense(dense)
    distribution = Distribution(sparse.crow, sparse.col, sparse.val, sparse.shape, table)
    coverage = distribution.coverage()
    assert coverage.share.tolist() == [0.75, 0.25]
    assert coverage.uncovered == 0.25
    assert coverage.muscles_per_vertex == 1.0
    assert "narrow               25.0%" in str(coverage)
    overlap = distribution.overlap()
    ((first, second, cosine),) = overlap.worst()
    assert (first, second) == ("wide", "narrow")
    assert cosine == pytest.approx(0.5 / (1 + 0.25 + 0.04) ** 0.5)
    torch.testing.assert_close(overlap.cosine.diagonal(), torch.ones(2, dtype=torch.float64))
    assert "wide / narrow  0.44" in str(overlap)


def test_a_unit_fibre_force_accelerates_exactly_the_muscles_own_shapes(tiny_rig: FaceRig, muscles: Muscles) -> None:
    """M^-1 A e_m is 1 on the shapes of muscle m and 0 elsewhere."""
    p = Distribution.from_rig(tiny_rig, muscles, threshold=0.0).to(torch.float64)
    shapes, masses = tiny_rig.blendshapes.double(), tiny_rig.vertex_masses.double()
    projection = ops.reduced_projection(shapes, p, fibre_directions(tiny_rig, p))
    response = torch.linalg.solve(ops.generalized_mass(shapes, masses), projection)
    own = torch.tensor([[float(name in muscle.shapes) for muscle in muscles] for name in tiny_rig.names])
    torch.testing.assert_close(response, own.double(), rtol=0, atol=1e-10)


def test_directions_divide_the_field_by_the_share(tiny_rig: FaceRig, muscles: Muscles) -> None:
    p = Distribution.from_rig(tiny_rig, muscles).to(torch.float64)
    field = muscle_displacements(tiny_rig, muscles)
    spread = ops.distribute_forces(p, torch.eye(len(muscles), dtype=torch.float64), p.directions(field))
    inside = p.dense().T[..., None] > 0
    torch.testing.assert_close(spread, torch.where(inside, field, 0), rtol=1e-12, atol=1e-14)


def test_wrong_shapes_are_refused(tiny_rig: FaceRig, muscles: Muscles) -> None:
    p = Distribution.from_rig(tiny_rig, muscles)
    with pytest.raises(ValueError, match=r"masses must have shape \(99,\)"):
        fibre_directions(tiny_rig, p, torch.ones(3))
    with pytest.raises(ValueError, match="field must have shape"):
        p.directions(torch.ones(2, 99, 3))
    with pytest.raises(ValueError, match="muscle platysma has no shapes"):
        muscle_displacements(tiny_rig, Muscles([Muscle("platysma", "both", "sheet", (21,), ())]))


def test_the_ict_face_shows_every_muscle_and_every_vertex_has_one(ict_rig: FaceRig) -> None:
    distribution = Distribution.from_rig(ict_rig)
    assert len(distribution.muscles) == 35
    coverage = distribution.coverage()
    assert coverage.uncovered == 0
    assert 5 < coverage.muscles_per_vertex < 10
    assert all(cosine < 0.99 for *_, cosine in distribution.overlap().worst())


def test_loads_without_arbitrary_code(tiny_rig: FaceRig, tmp_path: Path) -> None:
    """With ``weights_only``, and with the checks of a new one: a file cannot point outside the matrix."""
    distribution = Distribution.from_rig(tiny_rig, Muscles.facs().match(tiny_rig.names).muscles)
    torch.save({"P": distribution}, tmp_path / "P.pt")
    loaded = torch.load(tmp_path / "P.pt", weights_only=True)["P"]
    assert loaded.muscles == distribution.muscles
    assert torch.equal(loaded.dense(), distribution.dense())
    broken = distribution.with_values(distribution.val)
    object.__setattr__(broken, "col", distribution.col + 1000)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(Exception, match=r"col must lie in \[0, 8\)"):
        torch.load(tmp_path / "broken.pt", weights_only=True)
