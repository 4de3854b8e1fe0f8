"""Augmentation by the faces of others: what is added, to whom, and that it makes an encoder see past the face."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from biomechau.models import MeshEncoder, MeshHierarchy
from biomechau.models._identity import IdentityAugmentation
from biomechau.rig import FaceRig

_PROCESS = """
import sys
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from biomechau.models._identity import IdentityAugmentation
from biomechau.rig import FaceRig

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
augment = IdentityAugmentation(FaceRig.builtin(1000), torch.arange(100), 0.2)
torch.manual_seed(3)
u = load_file(f"{folder}/u.safetensors")["u"][rank::2].contiguous()
save_file({"u": augment(u)}, f"{folder}/{rank}.safetensors")
distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return FaceRig.builtin(1000)


@pytest.fixture(scope="module")
def with_modes(rig: FaceRig) -> FaceRig:
    """Two identity modes, a wide face and a long one."""
    modes = 0.1 * torch.stack([rig.neutral * torch.tensor([1.0, 0, 0]), rig.neutral * torch.tensor([0, 1.0, 0])])
    return replace(rig, identity=modes, identity_names=("wide", "long"))


def test_it_adds_one_random_identity_to_all_frames_of_a_sequence(with_modes: FaceRig) -> None:
    vertices = torch.arange(0, 300, 2)
    augment = IdentityAugmentation(with_modes, vertices, 0.2)
    u = torch.randn(5, 7, 150, 3)
    added = augment(u) - u
    torch.testing.assert_close(added, added[:, :1].expand_as(added))
    modes = 0.2 * with_modes.identity[:, vertices].flatten(1)
    weights = torch.linalg.lstsq(modes.T, added[:, 0].flatten(1).T).solution
    torch.testing.assert_close(added[:, 0].flatten(1), weights.T @ modes)
    assert (weights[:, 0] - weights[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lead", [(), (2,), (2, 4)])
def test_shapes(rig: FaceRig, lead: tuple[int, ...], dtype: torch.dtype) -> None:
    augment = IdentityAugmentation(rig, torch.arange(300), 0.2).to(dtype)
    u = torch.zeros(*lead, 6, 300, 3, dtype=dtype)
    added = augment(u)
    assert added.shape == u.shape
    assert added.dtype == dtype
    assert (added.flatten(-3).std(-1) > 0).all()
    # Every sequence has its own.
    assert len(added.flatten(-3).reshape(-1, 6 * 300 * 3).unique(dim=0)) == len(u.reshape(-1, 6 * 300 * 3))


def test_std_is_that_of_what_is_added(rig: FaceRig, with_modes: FaceRig) -> None:
    for face in (rig, with_modes):
        augment = IdentityAugmentation(face, torch.arange(300), 0.5)
        added = augment(torch.zeros(2000, 1, 300, 3))[:, 0]
        torch.testing.assert_close(added.mean(0), torch.zeros(300, 3), atol=0.1 * float(augment.std.max()), rtol=0)
        torch.testing.assert_close(added.std(0), augment.std, atol=1e-3, rtol=0.06)


def test_smooth_fields_where_the_rig_has_no_modes(rig: FaceRig) -> None:
    augment = IdentityAugmentation(rig, torch.arange(1000), 0.2)
    centred = rig.neutral - rig.neutral.mean(0)
    radius = centred.square().sum(1).mean().sqrt()
    torch.testing.assert_close(augment.std.square().sum(1).mean().sqrt(), 0.2 * 0.07 * radius)
    added = augment(torch.zeros(50, 1, 1000, 3))[:, 0]
    # No shift of the whole face, and neighbours move alike.
    torch.testing.assert_close(added.mean(1), torch.zeros(50, 3), atol=1e-5, rtol=0)
    i, j = rig.edges.T
    assert (added[:, i] - added[:, j]).square().mean() < 0.2 * 2 * added.square().mean()


def test_only_in_training(rig: FaceRig) -> None:
    augment = IdentityAugmentation(rig, torch.arange(300), 0.2)
    u = torch.randn(2, 3, 300, 3)
    assert augment.eval()(u) is u
    assert not list(augment.state_dict())


def test_a_strength_out_of_range(rig: FaceRig) -> None:
    for strength in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="strength must be positive and finite"):
            IdentityAugmentation(rig, torch.arange(300), strength)


@pytest.mark.slow
def test_two_processes_add_what_one_does(rig: FaceRig, tmp_path: Path) -> None:
    u = torch.randn(6, 2, 100, 3)
    save_file({"u": u}, tmp_path / "u.safetensors")
    command = [sys.executable, "-c", _PROCESS]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)], cwd=tmp_path) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    torch.manual_seed(3)
    together = IdentityAugmentation(rig, torch.arange(100), 0.2)(u)
    for rank in range(2):
        torch.testing.assert_close(load_file(tmp_path / f"{rank}.safetensors")["u"], together[rank::2])


def _r2_on_strangers(rig: FaceRig, hierarchy: MeshHierarchy, strength: float) -> float:
    """R2 of coefficients from meshes of unseen people, of an encoder trained on 4 people.

    A person's meshes are the linear ones and a constant of their own, a quadratic field that the augmentation does not
    have among its modes.
    """
    generator = torch.Generator().manual_seed(0)
    basis = rig.blendshapes[:8]
    scaled = rig.neutral / rig.neutral.abs().max()
    squares = torch.stack([scaled[:, i] * scaled[:, j] for i in range(3) for j in range(i + 1)])
    people = 0.2 * torch.einsum("jn,ad->jand", squares - squares.mean(1, keepdim=True), torch.eye(3)).flatten(0, 1)

    def meshes(num_people: int) -> tuple[Tensor, Tensor]:
        c = torch.rand(num_people, 20, 8, generator=generator)
        weights = torch.randn(num_people, len(people), generator=generator)
        constant = torch.tensordot(weights, people, 1)
        return c, torch.tensordot(c, basis, 1) + constant[:, None]

    (c, u), (unseen_c, unseen_u) = meshes(4), meshes(30)
    torch.manual_seed(0)
    encoder = MeshEncoder(hierarchy, 8, (8, 8), linear_path=True)
    augment = IdentityAugmentation(rig, encoder.vertices, strength) if strength else nn.Identity()
    encoder.fit_normalisation(u, augment.modes if isinstance(augment, IdentityAugmentation) else None)
    optimiser = torch.optim.AdamW(encoder.parameters(), 3e-3, weight_decay=1e-4)
    chosen = encoder.select(u).repeat(2, 1, 1, 1)
    for _ in range(150):
        loss = (encoder(augment(chosen)) - c.repeat(2, 1, 1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        error = (encoder(unseen_u) - unseen_c).square().mean()
    return float(1 - error / unseen_c.var(correction=0))


def test_an_encoder_generalises_to_faces_it_has_not_seen(rig: FaceRig) -> None:
    """Chance is 0; without augmentation the encoder learns its four people by heart."""
    hierarchy = MeshHierarchy.from_rig(rig, 2, num_input_vertices=200)
    augmented, plain = _r2_on_strangers(rig, hierarchy, 0.5), _r2_on_strangers(rig, hierarchy, 0.0)
    assert augmented > 0.5
    assert augmented > plain + 0.2
