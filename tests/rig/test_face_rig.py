"""FaceRig: what it refuses, and what it derives from its mesh."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.rig import FaceRig


def _with_value(tensor: Tensor, index: tuple[int, ...], value: float) -> Tensor:
    changed = tensor.clone()
    changed[index] = value
    return changed


BROKEN: dict[str, tuple[Callable[[FaceRig], dict[str, object]], type[Exception], str]] = {
    "neutral-float64": (lambda r: {"neutral": r.neutral.double()}, TypeError, "neutral must be float32, got torch.fl"),
    "neutral-numpy": (
        lambda r: {"neutral": r.neutral.numpy()},
        TypeError,
        "neutral must be a torch.Tensor, got ndarray",
    ),
    "faces-list": (lambda r: {"faces": r.faces.tolist()}, TypeError, "faces must be a torch.Tensor, got list"),
    "identity-numpy": (
        lambda r: {"identity": np.zeros((2, 99, 3), np.float32)},
        TypeError,
        "identity must be a torch.Tensor",
    ),
    "names-one-string": (
        lambda r: {"names": "abcdefgh"},
        TypeError,
        "names must be a sequence of strings, got the one string 'abcdefgh'",
    ),
    "names-numbers": (lambda r: {"names": range(8)}, TypeError, "names must be strings, got 0"),
    "identity-names-one-string": (
        lambda r: {"identity_names": "ab"},
        TypeError,
        "identity_names must be a sequence of strings",
    ),
    "neutral-flat": (lambda r: {"neutral": r.neutral.flatten()}, ValueError, r"neutral must have shape \(N, 3\)"),
    "neutral-empty": (lambda r: {"neutral": r.neutral[:0]}, ValueError, r"N > 0, got \(0, 3\)"),
    "neutral-nan": (
        lambda r: {"neutral": _with_value(r.neutral, (7, 1), torch.nan)},
        ValueError,
        "neutral is not finite at vertex 7",
    ),
    "faces-int32": (lambda r: {"faces": r.faces.int()}, TypeError, "faces must be int64, got torch.int32"),
    "faces-quads": (lambda r: {"faces": r.faces[:4].reshape(3, 4)}, ValueError, r"faces must have shape \(F, 3\)"),
    "face-too-large": (lambda r: {"faces": _with_value(r.faces, (5, 2), 99)}, ValueError, r"face 5 is .*\[0, 99\)"),
    "face-negative": (lambda r: {"faces": _with_value(r.faces, (5, 2), -1)}, ValueError, r"face 5 is .*\[0, 99\)"),
    "shapes-half": (lambda r: {"blendshapes": r.blendshapes.half()}, TypeError, "blendshapes must be float32"),
    "shapes-vertices": (
        lambda r: {"blendshapes": r.blendshapes[:, 1:]},
        ValueError,
        r"blendshapes must have shape \(8, 99, 3\).* got \(8, 98, 3\)",
    ),
    "shapes-names": (lambda r: {"names": r.names[1:]}, ValueError, r"shape \(7, 99, 3\): 7 names"),
    "shape-inf": (
        lambda r: {"blendshapes": _with_value(r.blendshapes, (2, 3, 0), -torch.inf)},
        ValueError,
        "shape 'browDown_L' is not finite at vertex 3",
    ),
    "names-twice": (
        lambda r: {"names": ("BrowInnerUpRight", *r.names[1:])},
        ValueError,
        "'BrowInnerUpRight' and 'browInnerUp_R' are one name",
    ),
    "identity-names": (lambda r: {"identity_names": ("wide",)}, ValueError, r"identity must have shape \(1, 99, 3\)"),
    "identity-nan": (
        lambda r: {"identity": _with_value(r.identity, (1, 0, 0), torch.nan)},
        ValueError,
        "identity mode 'rough' is not finite at vertex 0",
    ),
}


@pytest.mark.parametrize(("change", "error", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_rig_is_refused(
    tiny_rig: FaceRig, change: Callable[[FaceRig], dict[str, object]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        replace(tiny_rig, **change(tiny_rig))  # pyright: ignore[reportArgumentType]


def test_identity_is_optional(tiny_rig: FaceRig) -> None:
    rig = FaceRig(tiny_rig.neutral, tiny_rig.faces, tiny_rig.blendshapes, tiny_rig.names)
    assert rig.identity.shape == (0, 99, 3)
    assert torch.equal(rig.with_identity(torch.empty(0)).neutral, rig.neutral)


def test_edges_are_those_of_the_triangles_once_each(tiny_rig: FaceRig) -> None:
    expected = {tuple(sorted((face[i], face[i - 1]))) for face in tiny_rig.faces.tolist() for i in range(3)}
    assert tiny_rig.edges.dtype == torch.int64
    assert len(tiny_rig.edges) == len(expected)
    assert {tuple(edge) for edge in tiny_rig.edges.tolist()} == expected


def test_vertex_masses_of_a_flat_grid_are_known() -> None:
    neutral = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [9, 9, 9]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    rig = FaceRig(neutral, faces, torch.zeros(0, 5, 3), ())
    assert torch.allclose(rig.vertex_masses, torch.tensor([2.0, 1, 2, 1, 0]) / 6)
    assert rig.vertex_masses.dtype == torch.float32


def test_mesh_without_area_has_no_masses(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="no area"):
        _ = replace(tiny_rig, faces=tiny_rig.faces[:0]).vertex_masses


def test_trimesh_view_keeps_the_order_of_vertices_and_faces(tiny_rig: FaceRig) -> None:
    doubled = replace(tiny_rig, neutral=_with_value(tiny_rig.neutral, (1,), 0).index_fill(0, torch.tensor([2]), 0))
    assert torch.equal(torch.from_numpy(doubled.mesh.vertices.copy()).float(), doubled.neutral)
    assert torch.equal(torch.from_numpy(doubled.mesh.faces.copy()), doubled.faces)


def test_select_takes_shapes_in_the_order_asked_and_in_any_spelling(tiny_rig: FaceRig) -> None:
    rig = tiny_rig.select(["JawOpen", "MouthSmileLeft"])
    assert rig.names == ("jawOpen", "mouthSmile_L")
    assert torch.equal(rig.blendshapes, tiny_rig.blendshapes[[7, 4]])
    assert torch.equal(rig.neutral, tiny_rig.neutral)


def test_unknown_shapes_are_all_named(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="no shapes 'tongueOut', 'smirk'; it has browInnerUp_L"):
        tiny_rig.shape_indices(["jawOpen", "tongueOut", "smirk"])


def test_selecting_a_shape_twice_is_refused(tiny_rig: FaceRig) -> None:
    with pytest.raises(ValueError, match="must be unique"):
        tiny_rig.select(["jawOpen", "jawOpen"])


def test_one_string_in_place_of_names_is_refused(tiny_rig: FaceRig) -> None:
    for call in (tiny_rig.select, tiny_rig.shape_indices):
        with pytest.raises(TypeError, match="names must be a sequence .* 'jawOpen'"):
            call("jawOpen")
    with pytest.raises(TypeError, match="channel names must be a sequence of strings"):
        tiny_rig.map_channels("JawOpen")


def test_identity_weights_are_told_in_the_provenance(tiny_rig: FaceRig) -> None:
    assert tiny_rig.with_identity(torch.zeros(2)).provenance == {"source": "test"}
    person = tiny_rig.with_identity(torch.tensor([2.0, -0.1]))
    assert person.provenance == {"source": "test", "identity_weights": "wide=2, rough=-0.1"}
    moved_on = person.with_identity(torch.tensor([0.0, 1.0]))
    assert moved_on.provenance["identity_weights"] == "wide=2, rough=-0.1; rough=1"


def test_identity_weights_move_the_neutral_only(tiny_rig: FaceRig) -> None:
    person = tiny_rig.with_identity(torch.tensor([2.0, -1.0]))
    assert torch.allclose(person.neutral, tiny_rig.neutral + 2 * tiny_rig.identity[0] - tiny_rig.identity[1])
    assert torch.equal(person.blendshapes, tiny_rig.blendshapes)
    assert not torch.allclose(person.vertex_masses, tiny_rig.vertex_masses)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (torch.zeros(3), ValueError, r"weights must have shape \(2,\)"),
        (torch.zeros(2, dtype=torch.float64), TypeError, "weights must be torch.float32"),
        (torch.tensor([0.0, torch.nan]), ValueError, "weights must be finite"),
    ],
)
def test_broken_identity_weights_are_refused(
    tiny_rig: FaceRig, weights: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tiny_rig.with_identity(weights)


def test_rig_maps_channels_to_its_own_shapes(tiny_rig: FaceRig) -> None:
    mapped = tiny_rig.map_channels(["BrowInnerUp", "JawOpen"])
    assert mapped.matrix.shape == (2, 8)
    assert mapped.matrix[0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert mapped.matrix[1].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
