"""CorpusSequence: one labelled sequence of a corpus, and the specification of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.corpus.face_sequence import check_timestamp
from biomechau.rig import FaceRig

UNKNOWN = -1
MOST_INTENSE = 5.0  # FACS's E


class TensorKind(NamedTuple):
    """Allowed dtypes of a tensor of a sequence, its axes after the frames, and whether it is required."""

    dtypes: tuple[torch.dtype, ...]
    axes: tuple[str, ...]
    required: bool = False


# Axes: K shapes, R action units, D image features, M muscles, N vertices, 2 sides, 3 coordinates.
TENSORS: Mapping[str, TensorKind] = {
    "coefficients": TensorKind((torch.float32,), ("K",), required=True),
    "labels": TensorKind((torch.int8,), ("R",), required=True),
    "timestamp": TensorKind((torch.float64,), ("",), required=True),
    "valid": TensorKind((torch.bool,), ("",), required=True),
    "image_features": TensorKind((torch.float32,), ("D",)),
    "muscle_forces": TensorKind((torch.float32,), ("M", "M3")),
    "side_labels": TensorKind((torch.int8,), ("R2",)),
    "intensities": TensorKind((torch.float32,), ("R",)),
    "side_intensities": TensorKind((torch.float32,), ("R2",)),
    "vertices_residual": TensorKind((torch.float16, torch.float32), ("N3",)),
    "image_valid": TensorKind((torch.bool,), ("",)),
}


@dataclass(frozen=True, eq=False)
class CorpusSequence:
    """Coefficients and action-unit labels of one person over time.

    Every value is finite, also in frames that are not valid, which may have any finite values.

    Attributes:
        id: of the sequence in its corpus.
        subject: the recorded person.
        task: what the subject was asked to do.
        coefficients: (T, K) float32, blendshape coefficients in the order of the rig's shapes.
        labels: (T, R) int8, 1 if the action unit is on, 0 if it is off, -1 if it is unknown.
        timestamp: (T,) float64, time of each frame [s], strictly increasing.
        valid: (T,) bool, False where the coefficients are not a measurement.
        image_features: (T, D) float32, features of the picture of each frame, or None.
        muscle_forces: (T, M) float32 for fibres or (T, M, 3) for vectors, true muscle forces [1], or None.
        vertices_residual: (T, N, 3) float16 or float32, the mesh minus sum_k c_k B_k (Eq. 3) [cm], or None.
        side_labels: (T, R, 2) int8, as ``labels`` for the left and the right side; the same for units of the middle of
            the face. None if no side is labelled.
        intensities: (T, R) float32, intensity of each action unit, 0 (absent), 1 (barely visible) to 5 (maximum), -1 if
            it is unknown. None if no intensity is known, or each side's.
        side_intensities: (T, R, 2) float32, as ``intensities`` for the left and the right side, or None.
        image_valid: (T,) bool, False in frames without a picture, whose ``image_features`` are meaningless; None if all
            have one.

    Raises:
        TypeError: a value is not a tensor, or has the wrong dtype.
        ValueError: lengths differ, there are no frames, a value is not finite, a label is not -1, 0 or 1, or times do
            not increase; the message names the sequence, the tensor and the frame.
    """

    id: str
    subject: str
    task: str
    coefficients: Tensor
    labels: Tensor
    timestamp: Tensor
    valid: Tensor
    image_features: Tensor | None = None
    muscle_forces: Tensor | None = None
    vertices_residual: Tensor | None = None
    image_valid: Tensor | None = None
    side_intensities: Tensor | None = None
    side_labels: Tensor | None = None
    intensities: Tensor | None = None

    def __post_init__(self) -> None:
        where = f"sequence {self.id!r}: "
        for name, kind in TENSORS.items():
            tensor = getattr(self, name)
            if tensor is None and not kind.required:
                continue
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{where}{name} must be a torch.Tensor, got {type(tensor).__name__}")
            if tensor.dtype not in kind.dtypes:
                expected = " or ".join(dtype_name(dtype) for dtype in kind.dtypes)
                raise TypeError(f"{where}{name} must be {expected}, got {dtype_name(tensor.dtype)}")
            if tensor.ndim not in {1 + len(axes) for axes in kind.axes}:
                expected = " or ".join(str(("T", *axes)).replace("'", "") for axes in kind.axes)
                raise ValueError(f"{where}{name} must have shape {expected}, got {tuple(tensor.shape)}")
            if len(tensor) != len(self):
                raise ValueError(f"{where}{name} has {len(tensor)} frames, expected {len(self)} like coefficients")
            _check_finite(tensor, where + name)
        if not len(self):
            raise ValueError(f"{where}coefficients have no frames")
        try:
            check_labels(self.labels)
            if self.side_labels is not None:
                check_labels(self.side_labels, "side_labels")
            for name in ("intensities", "side_intensities"):
                if (values := getattr(self, name)) is not None:
                    _check_intensities(values, name)
            check_timestamp(self.timestamp)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the sequence, by name."""
        named = ((name, getattr(self, name)) for name in TENSORS)
        return {name: tensor for name, tensor in named if tensor is not None}

    @property
    def label_mask(self) -> Tensor:
        """(T, R) bool, True where the label is known and the frame valid."""
        return label_mask(self.labels, self.valid)

    def deformation(self, rig: FaceRig) -> Tensor:
        """Displacement of every vertex, u = sum_k c_k B_k (Eq. 3) plus ``vertices_residual`` [cm], (T, N, 3) float32.

        Raises:
            ValueError: the rig has another number of shapes or vertices.
        """
        if rig.num_shapes != self.coefficients.shape[1]:
            raise ValueError(f"the rig has {rig.num_shapes} shapes, expected {self.coefficients.shape[1]}")
        deformation = torch.tensordot(self.coefficients, rig.blendshapes, 1)
        if self.vertices_residual is None:
            return deformation
        if rig.num_vertices != self.vertices_residual.shape[1]:
            raise ValueError(f"the rig has {rig.num_vertices} vertices, expected {self.vertices_residual.shape[1]}")
        return deformation + self.vertices_residual.to(deformation.dtype)


def label_mask(labels: Tensor, valid: Tensor) -> Tensor:
    """(..., T, R) bool, True where labels (..., T, R) are known and frames (..., T) valid."""
    return (labels != UNKNOWN) & valid[..., None]


def check_labels(labels: Tensor, name: str = "labels") -> None:
    """Raise ``ValueError`` unless all labels (T, R, ...) are -1, 0 or 1; the message names the frame."""
    wrong = ((labels < UNKNOWN) | (labels > 1)).nonzero()
    if len(wrong):
        frame, column, *side = wrong[0].tolist()
        where = f", {('left', 'right')[side[0]]}" if side else ""
        raise ValueError(
            f"{name} is {int(labels[tuple(wrong[0])])} in frame {frame}, column {column}{where}; "
            "expected -1 (unknown), 0 (off) or 1 (on)"
        )


def _check_intensities(values: Tensor, name: str) -> None:
    wrong = (((values < 0) & (values != UNKNOWN)) | (values > MOST_INTENSE)).nonzero()
    if len(wrong):
        frame, column = wrong[0, :2].tolist()
        raise ValueError(
            f"{name} is {float(values[tuple(wrong[0])]):g} in frame {frame}, column {column}; "
            f"expected -1 (unknown), or 0 (absent) to {MOST_INTENSE:g} (maximum)"
        )


def dtype_name(dtype: torch.dtype) -> str:
    """``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def _check_finite(tensor: Tensor, name: str) -> None:
    # A float64 sum of values this small is finite only if all of them are; otherwise each one is checked.
    if not tensor.dtype.is_floating_point or torch.isfinite(tensor.sum(dtype=torch.float64)):
        return
    broken = (~torch.isfinite(tensor)).nonzero()
    if len(broken):
        frame = int(broken[0, 0])
        raise ValueError(f"{name} is not finite in frame {frame}: {float(tensor[tuple(broken[0])])}")
