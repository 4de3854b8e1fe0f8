"""CorpusWriter: writes a corpus folder completely or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import save
from torch import Tensor

from biomechau.corpus.corpus import file_sha256
from biomechau.corpus.corpus_files import corpus_parts
from biomechau.corpus.corpus_sequence import TENSORS, UNKNOWN, CorpusSequence
from biomechau.corpus.driving import drive
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.manifest import (
    MANIFEST,
    RIG,
    SEQUENCES,
    Manifest,
    SequenceEntry,
    TensorLayout,
    check_header,
    check_id,
    check_layouts,
    check_subject,
    layouts,
)
from biomechau.file_errors import reason
from biomechau.files import is_unfinished, remove_leftovers, staged_directory
from biomechau.rig import FaceRig


class CorpusWriter:
    """Writes a corpus; a context manager.

    Everything is written to a temporary folder next to ``path``, which is renamed at the end of the block. If the block
    raises, or the process is killed, ``path`` is as it was before. The same sequences give the same bytes. Overwriting
    removes the old corpus with its pictures and image features; other files in the folder are kept.

    Args:
        path: folder to create; it must not exist yet, or be empty.
        rig: of the coefficients.
        action_units: numbers of the R action units, in the order of the labels.
        fps: nominal frame rate [1/s].
        muscles: identifiers of the M muscles, if the sequences have true muscle forces.
        provenance: where the corpus came from, such as settings, versions, licence; JSON values.
        overwrite: replace a corpus at ``path``.

    Raises:
        ValueError, TypeError: action units or muscles are not unique, the frame rate is not positive, or the provenance
            cannot be written as JSON. With ``overwrite``, also if the old ``corpus.json`` is broken.
        FileExistsError: ``path`` exists. With ``overwrite``: it is not a corpus, or a file among its sequences,
            pictures or image features does not belong to it.

    >>> with CorpusWriter("corpus", rig, action_units=(6, 12), fps=25.0) as writer:  # doctest: +SKIP
    ...     writer.add_frames("anna_1", "anna", read_sequence("anna_1.csv", rig), labels)
    """

    def __init__(
        self,
        path: str | Path,
        rig: FaceRig,
        action_units: Iterable[int],
        fps: float,
        *,
        muscles: Iterable[str] = (),
        provenance: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path).absolute()
        self.rig = rig
        self.action_units = tuple(action_units)
        self.fps = float(fps)
        self.muscles = tuple(muscles)
        self.provenance = dict(provenance or {})
        self.overwrite = overwrite
        self._sizes = {"K": rig.num_shapes, "R": len(self.action_units), "M": len(self.muscles), "N": rig.num_vertices}
        self._layouts: dict[str, TensorLayout] = {}
        self._entries: list[SequenceEntry] = []
        self._taken: set[str] = set()
        self._replaced: set[str] = set()
        self._writing: ExitStack | None = None
        self._stage: Path | None = None
        # Checked now, not when the last sequence is written.
        check_header(self.action_units, self.fps, self.muscles)
        json.dumps(self.provenance, allow_nan=False)
        remove_leftovers(self.path)
        self._check_path()

    def __enter__(self) -> CorpusWriter:
        if self._writing is not None:
            raise RuntimeError("a CorpusWriter writes one corpus; create another one for the next")
        with ExitStack() as stack:
            stage = stack.enter_context(staged_directory(self.path, self._replaced))
            (stage / SEQUENCES).mkdir()
            self.rig.save(stage / RIG)
            self._writing, self._stage = stack.pop_all(), stage
        return self

    @property
    def folder(self) -> Path:
        """The temporary folder of the corpus until the block ends; other files written there become part of it.

        Raises:
            RuntimeError: accessed outside the ``with`` block.
        """
        if self._stage is None:
            raise RuntimeError("CorpusWriter.folder exists inside the writer's with block only")
        return self._stage

    def add(self, sequence: CorpusSequence) -> None:
        """Write one sequence.

        All sequences of a corpus have the same tensors, with the same dtypes and, except for the frames, shapes.

        Raises:
            RuntimeError: called outside the ``with`` block.
            ValueError: the id is taken or not a safe file name, there is no subject, or a tensor does not match the
                rig, the action units, the muscles or the first sequence; the message names the sequence and the tensor.
            OSError: the file cannot be written.
        """
        if self._stage is None:
            raise RuntimeError("CorpusWriter.add must be called inside the writer's with block")
        check_id(sequence.id, self._taken)
        found = layouts(sequence)
        check_subject(sequence.id, sequence.subject)
        try:
            check_layouts(found, self._sizes)
            self._check_like_the_first(found)
        except ValueError as error:
            raise ValueError(f"sequence {sequence.id!r}: {error}") from error
        # Cloned, because safetensors refuses tensors that share memory.
        tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in sequence.tensors.items()}
        # safetensors' own save_file ignores the umask and does not report failures as OSError.
        (self._stage / SEQUENCES / f"{sequence.id}.safetensors").write_bytes(save(tensors))
        self._layouts = found
        self._entries.append(SequenceEntry(sequence.id, sequence.subject, sequence.task, len(sequence)))
        self._taken.add(sequence.id.casefold())

    def add_frames(
        self,
        id: str,
        subject: str,
        coefficients: FaceSequence | ArrayLike | Tensor,
        labels: ArrayLike | Tensor,
        *,
        task: str = "",
        timestamp: ArrayLike | Tensor | None = None,
        valid: ArrayLike | Tensor | None = None,
        **others: ArrayLike | Tensor,
    ) -> None:
        """Write one sequence from arrays, lists or a recording.

        Args:
            id: of the sequence in its corpus.
            subject: the recorded person.
            coefficients: (T, K) in the order of the rig's shapes; or a recording, which is resampled to the frame rate
                of the corpus and mapped to the rig's shapes by the names of its channels.
            labels: (T, R) of the action units: 1 or True for on, 0 or False for off, -1 or NaN for unknown.
            task: what the subject was asked to do.
            timestamp: (T,) time of each frame [s]; by default that of the recording, or n / fps for frame n.
            valid: (T,) False where the coefficients are not a measurement; by default as in the recording, or all True.
                Frames with a coefficient of NaN are never valid.
            **others: other tensors of :class:`CorpusSequence`; ``side_labels`` (T, R, 2) as ``labels``, and intensities
                with -1 or NaN for unknown.

        Raises:
            RuntimeError, ValueError, OSError: see :meth:`add`; also if a label has another value, or no channel of a
                recording drives a shape.
            TypeError: a name is not a tensor of a sequence, or values are not numbers.
        """
        if unknown := [name for name in others if name not in TENSORS]:
            raise TypeError(
                f"sequence {id!r}: {unknown[0]} is not a tensor of a sequence; these are {', '.join(TENSORS)}"
            )
        if isinstance(coefficients, FaceSequence):
            recording, _, coefficients = drive(coefficients, self.rig, self.fps)
            timestamp = recording.timestamp if timestamp is None else timestamp
            valid = recording.valid if valid is None else valid
        values = {
            name: (_as_labels if name == "side_labels" else _as_tensor)(id, name, value)
            for name, value in (("coefficients", coefficients), *others.items())
        }
        count = len(values["coefficients"])
        unmeasured = values["coefficients"].isnan().flatten(1).any(1)
        values["coefficients"] = values["coefficients"].nan_to_num(nan=0.0, posinf=math.inf, neginf=-math.inf)
        values["labels"] = _as_labels(id, "labels", labels)
        values["timestamp"] = (
            torch.arange(count, dtype=torch.float64) / self.fps
            if timestamp is None
            else _as_tensor(id, "timestamp", timestamp)
        )
        values["valid"] = torch.ones(count, dtype=torch.bool) if valid is None else _as_tensor(id, "valid", valid)
        if values["valid"].shape == unmeasured.shape:  # otherwise CorpusSequence raises the error
            values["valid"] = values["valid"] & ~unmeasured
        self.add(CorpusSequence(id=id, subject=subject, task=task, **values))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writing, stage, self._stage = self._writing, self._stage, None
        if writing is None or stage is None:
            return
        if error is not None:
            writing.__exit__(kind, error, trace)
            return
        with writing:
            manifest = Manifest(
                self.action_units,
                self.fps,
                file_sha256(stage / RIG),
                self.rig.names,
                self.muscles,
                self._layouts,
                tuple(self._entries),
                self.provenance,
            )
            manifest.save(stage / MANIFEST)
            self._check_path()

    def _check_path(self) -> None:
        if not self.path.exists() or (self.path.is_dir() and all(map(is_unfinished, self.path.iterdir()))):
            return
        if not self.overwrite:
            raise FileExistsError(
                f"{self.path} exists; choose a new folder, or overwrite it (--overwrite, overwrite=True)"
            )
        if not (self.path / MANIFEST).is_file():
            raise FileExistsError(f"{self.path} is not a corpus, so it is not overwritten")
        self._replaced.update(corpus_parts(self.path))

    def _check_like_the_first(self, found: Mapping[str, TensorLayout]) -> None:
        first = self._layouts or found
        for name in first.keys() | found.keys():
            if first.get(name) != found.get(name):
                raise ValueError(
                    f"tensor {name}: expected {_words(first.get(name))} like the first sequence, "
                    f"found {_words(found.get(name))}"
                )


def _as_tensor(id: str, name: str, value: ArrayLike | Tensor) -> Tensor:
    """Convert an array or a list to the dtype of a sequence; numbers other than 0 and 1 never become booleans."""
    tensor = value if isinstance(value, Tensor) else _plain_array(id, name, value)
    if name in ("intensities", "side_intensities"):
        tensor = tensor.nan_to_num(nan=UNKNOWN, posinf=math.inf, neginf=-math.inf)
    wanted = TENSORS[name].dtypes
    if tensor.dtype in wanted:
        return tensor
    if wanted[0] == torch.bool and not bool(((tensor == 0) | (tensor == 1)).all()):
        raise ValueError(f"sequence {id!r}: {name} must be True or False in each frame")
    return tensor.to(wanted[0])


def _as_labels(id: str, name: str, labels: ArrayLike | Tensor) -> Tensor:
    tensor = labels if isinstance(labels, Tensor) else _plain_array(id, name, labels)
    if tensor.dtype == torch.int8:
        return tensor
    tensor = torch.where(tensor.isnan(), UNKNOWN, tensor) if tensor.dtype.is_floating_point else tensor
    wrong = (
        ~torch.isin(tensor, torch.tensor([UNKNOWN, 0, 1], dtype=tensor.dtype)) if tensor.dtype != torch.bool else None
    )
    if wrong is not None and wrong.any():
        where = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"sequence {id!r}: {name} is {tensor[tuple(where)].item():g} in frame {where[0]}, expected 1, 0, -1 or NaN"
        )
    return tensor.to(torch.int8)


def _plain_array(id: str, name: str, value: ArrayLike) -> Tensor:
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"sequence {id!r}: {name}: {reason(error)}") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"sequence {id!r}: {name} must be numbers, got {array.dtype}")
    return torch.from_numpy(array.copy())


def _words(layout: TensorLayout | None) -> str:
    return "none" if layout is None else f"{layout.dtype} with {layout.shape} per frame"
