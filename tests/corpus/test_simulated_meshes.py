"""Meshes of simulated people: more than their coefficients, smooth, and nothing else changes with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biomechau.corpus import Corpus
from biomechau.corpus.simulator import SimulatedSequence, SimulationConfig, simulate, write_simulated_corpus
from biomechau.corpus.simulator._coarse_face import CoarseFace
from biomechau.corpus.simulator._fine_face import FineFace, carry
from biomechau.corpus.simulator._person import Person
from biomechau.rig import FaceRig

CONFIG = SimulationConfig(subjects=2, sequences=2, frames=32, coarse_vertices=200, meshes=True)


@pytest.fixture(scope="module", params=["smooth", "modes"])
def rig(request: pytest.FixtureRequest) -> FaceRig:
    """The built-in face, as it is and with two identity modes: a wide face and a long one."""
    rig = FaceRig.builtin(1000)
    if request.param == "smooth":
        return rig
    modes = 0.1 * torch.stack([rig.neutral * torch.tensor([1.0, 0, 0]), rig.neutral * torch.tensor([0, 1.0, 0])])
    return replace(rig, identity=modes, identity_names=("wide", "long"))


@pytest.fixture(scope="module")
def sequences(rig: FaceRig) -> list[SimulatedSequence]:
    return list(simulate(rig, CONFIG))


def test_nothing_else_changes_with_them(rig: FaceRig, sequences: list[SimulatedSequence]) -> None:
    for with_mesh, without in zip(sequences, simulate(rig, replace(CONFIG, meshes=False)), strict=True):
        assert without.vertices_residual is None
        assert with_mesh.vertices_residual is not None
        assert with_mesh.vertices_residual.dtype == torch.float16
        assert with_mesh.vertices_residual.shape == (32, 1000, 3)
        for name in ("coefficients", "labels", "muscle_forces", "clean_labels"):
            assert torch.equal(getattr(with_mesh, name), getattr(without, name)), name


def test_the_same_for_any_number_of_threads(rig: FaceRig, sequences: list[SimulatedSequence]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        again = list(simulate(rig, CONFIG))
    finally:
        torch.set_num_threads(before)
    for first, second in zip(sequences, again, strict=True):
        assert torch.equal(first.vertices_residual, second.vertices_residual)  # type: ignore[arg-type]


def test_meshes_are_those_of_the_trackers_person(rig: FaceRig) -> None:
    """In the coarse face's vertices u = sum_k c_k B_est_k + 0.2 identity, with the shapes that the tracker fits."""
    coarse = CoarseFace.from_rig(rig, 200)
    fine = FineFace.from_rig(rig, coarse)
    person = Person.draw(coarse, 2.0, np.random.default_rng(0))
    c = np.random.default_rng(1).uniform(0, 1, (5, rig.num_shapes))
    meshes = np.einsum("tk,kna->tna", c, fine.shapes) + fine.residual(person, c).numpy()
    expected = np.einsum("tk,kna->tna", c, person.tracked_shapes(coarse)) + 0.2 * person.identity(coarse)
    assert np.abs(person.identity(coarse)).max() > 0.1
    np.testing.assert_allclose(meshes[:, coarse.samples], expected, atol=2e-3)


def test_the_residual_is_a_persons_own_and_moves_with_the_coefficients(sequences: list[SimulatedSequence]) -> None:
    first, second, other, _ = (
        torch.cat([s.vertices_residual.double().flatten(1), torch.ones(32, 1)], 1)  # type: ignore[union-attr]
        for s in sequences
    )
    c = [torch.cat([s.coefficients.double(), torch.ones(32, 1)], 1) for s in sequences]
    # One linear map for all frames of a person, who has more frames than the map has coefficients; not for another's.
    assert c[0].shape[1] < 64
    own = torch.linalg.lstsq(torch.cat(c[:2]), torch.cat([first, second]), driver="gelsd").solution
    assert (c[0] @ own - first).abs().max() < 2e-3
    assert (c[1] @ own - second).abs().max() < 2e-3
    assert (c[2] @ own - other).abs().max() > 0.05
    assert first.std(0).max() > 0.01


def test_fields_are_carried_without_steps(rig: FaceRig) -> None:
    coarse = CoarseFace.from_rig(rig, 200)
    assert carry(rig, coarse.samples, np.ones((200, 1))) == pytest.approx(np.ones((1000, 1)))
    carried = carry(rig, coarse.samples, coarse.smooth_modes)
    assert np.array_equal(carried[coarse.samples], coarse.smooth_modes)
    nearest = np.linalg.norm(rig.neutral[:, None] - rig.neutral[None, coarse.samples], axis=-1).argmin(1)
    i, j = rig.edges.numpy().T
    step, stair = (np.abs(v[i] - v[j]).max() for v in (carried, coarse.smooth_modes[nearest]))
    assert step < 0.7 * stair
    # A field that bends as little as positions do comes back.
    positions = carry(rig, coarse.samples, coarse.positions)
    assert np.abs(positions - rig.neutral.numpy()).mean() < 0.1


def test_parts_without_samples_take_the_nearest_value() -> None:
    """Two triangles apart and a vertex in none; samples on the first triangle alone."""
    neutral = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [6, 0, 0], [5, 1, 0], [0, 3, 0]])
    rig = FaceRig(neutral, torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.ones(1, 7, 3), ("jawOpen",))
    carried = carry(rig, np.array([1, 2]), np.array([[1.0], [3.0]]))[:, 0]
    assert carried[[1, 2, 3, 4, 5, 6]].tolist() == [1, 3, 1, 1, 1, 3]
    assert 1 < carried[0] < 3


def test_the_corpus_has_them(rig: FaceRig, sequences: list[SimulatedSequence], tmp_path: Path) -> None:
    write_simulated_corpus(rig, tmp_path / "corpus", CONFIG)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.provenance["simulation"]["meshes"] is True
    for written, simulated in zip(corpus, sequences, strict=True):
        assert torch.equal(written.vertices_residual, simulated.vertices_residual)  # type: ignore[arg-type]


def test_the_option_is_yes_or_no() -> None:
    with pytest.raises(TypeError, match="meshes must be a bool, got int"):
        SimulationConfig(meshes=1)  # type: ignore[arg-type]
