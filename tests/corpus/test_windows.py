"""Windows of a corpus: every frame where it belongs, and padding that counts for nothing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from biomechau.corpus import Corpus, CorpusSequence, CorpusWriter, Windows
from biomechau.corpus.windows import window_starts
from biomechau.rig import FaceRig

LENGTHS = {"B_1": 10, "A_1": 4, "A_2": 8}


@pytest.fixture(scope="module")
def corpus(tiny_rig: FaceRig, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sequences of 10, 4 and 8 frames; the second frame of each is not valid."""
    path = tmp_path_factory.mktemp("windows") / "corpus"
    generator = torch.Generator().manual_seed(0)
    with CorpusWriter(path, tiny_rig, (1, 2), 25.0, muscles=("left", "right", "both")) as writer:
        for id, frames in LENGTHS.items():
            writer.add(
                CorpusSequence(
                    id=id,
                    subject=id[0],
                    task=id[-1],
                    coefficients=torch.rand(frames, tiny_rig.num_shapes, generator=generator),
                    labels=torch.randint(-1, 2, (frames, 2), generator=generator, dtype=torch.int8),
                    timestamp=torch.arange(frames, dtype=torch.float64) / 25,
                    valid=torch.arange(frames) != 1,
                    muscle_forces=torch.rand(frames, 3, generator=generator),
                    vertices_residual=torch.rand(frames, tiny_rig.num_vertices, 3, generator=generator),
                )
            )
    return Corpus.open(path)


def starts(windows: Windows) -> list[tuple[str, int]]:
    return [(item["sequence_id"], int(item["first_frame"])) for item in (windows[i] for i in range(len(windows)))]


@pytest.mark.parametrize(
    ("length", "num_frames", "stride", "padded", "dropped"),
    [
        (10, 4, 4, [0, 4, 8], [0, 4]),
        (10, 4, 2, [0, 2, 4, 6], [0, 2, 4, 6]),
        (10, 4, 3, [0, 3, 6], [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 9], [0, 3, 6]),
        (8, 4, 4, [0, 4], [0, 4]),
        (4, 4, 1, [0], [0]),
        (3, 4, 1, [0], []),
        (10, 2, 5, [0, 5], [0, 5]),
    ],
)
def test_window_starts(length: int, num_frames: int, stride: int, padded: list[int], dropped: list[int]) -> None:
    assert list(window_starts(length, num_frames, stride, drop_tail=False)) == padded
    assert list(window_starts(length, num_frames, stride, drop_tail=True)) == dropped


def test_padded_windows(corpus: Corpus) -> None:
    windows = Windows(corpus, num_frames=4)
    assert starts(windows) == [("B_1", 0), ("B_1", 4), ("B_1", 8), ("A_1", 0), ("A_2", 0), ("A_2", 4)]
    item, sequence = windows[2], corpus["B_1"]
    for name in ("coefficients", "muscle_forces"):
        tensor = sequence.tensors[name]
        assert torch.equal(item[name], torch.cat([tensor[8:], tensor[-1:], tensor[-1:]])), name
    assert item["valid"].tolist() == [True, True, False, False]
    assert torch.equal(item["labels"][:2], sequence.labels[8:])
    assert (item["labels"][2:] == -1).all()
    assert not item["label_mask"][2:].any()


def test_dropped_tails(corpus: Corpus) -> None:
    assert starts(Windows(corpus, num_frames=4, tail="drop")) == [
        *(("B_1", 0), ("B_1", 4), ("A_1", 0), ("A_2", 0), ("A_2", 4))
    ]
    assert starts(Windows(corpus, num_frames=6, tail="drop")) == [("B_1", 0), ("A_2", 0)]


def test_every_frame_is_shown_once(corpus: Corpus) -> None:
    windows = Windows(corpus, num_frames=3)
    for id, length in LENGTHS.items():
        pieces = [
            item["coefficients"] for item in (windows[i] for i in range(len(windows))) if item["sequence_id"] == id
        ]
        assert torch.equal(torch.cat(pieces)[:length], corpus[id].coefficients)


def test_the_contents_of_an_item(corpus: Corpus) -> None:
    item = Windows(corpus, ["A_2"], num_frames=3, stride=2)[1]
    sequence = corpus["A_2"]
    assert sorted(item) == [
        *("coefficients", "first_frame", "label_mask", "labels", "muscle_forces", "sequence_id", "subject", "valid")
    ]
    for name in ("coefficients", "labels", "valid", "muscle_forces", "label_mask"):
        assert torch.equal(item[name], getattr(sequence, name)[2:5]), name
    first = Windows(corpus, ["A_2"], num_frames=3)[0]
    assert torch.equal(first["label_mask"], (first["labels"] != -1) & first["valid"][:, None])
    assert not first["label_mask"][1].any()
    assert corpus.subjects[int(item["subject"])] == "A"


def test_optional_tensors(corpus: Corpus) -> None:
    item = Windows(corpus, num_frames=4, optional=("vertices_residual", "image_features"))[0]
    assert "muscle_forces" not in item
    assert "image_features" not in item  # the corpus has none
    assert torch.equal(item["vertices_residual"], corpus["B_1"].vertices_residual[:4])


def test_the_order_of_the_ids_is_kept(corpus: Corpus) -> None:
    assert starts(Windows(corpus, ("A_2", "B_1"), num_frames=8, tail="drop")) == [("A_2", 0), ("B_1", 0)]


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches(corpus: Corpus, workers: int) -> None:
    windows = Windows(corpus, num_frames=4)
    _ = windows[0]
    batches = list(
        DataLoader(windows, batch_size=4, num_workers=workers, multiprocessing_context="spawn" if workers else None)
    )
    assert [len(batch["subject"]) for batch in batches] == [4, 2]
    assert batches[0]["coefficients"].shape == (4, 4, 8)
    assert batches[0]["sequence_id"] == ["B_1", "B_1", "B_1", "A_1"]
    assert batches[0]["first_frame"].tolist() == [0, 4, 8, 0]
    assert torch.equal(batches[1]["labels"][1], windows[5]["labels"])


def test_pickling_sends_no_sequences(corpus: Corpus) -> None:
    windows = Windows(corpus, num_frames=4)
    before = len(pickle.dumps(windows))
    _ = windows[0]
    assert len(pickle.dumps(windows)) == before


def test_changing_an_item_changes_nothing_else(corpus: Corpus) -> None:
    windows = Windows(corpus, num_frames=4)
    expected = windows[0]["coefficients"].clone()
    windows[0]["coefficients"].zero_()
    assert torch.equal(windows[0]["coefficients"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames and stride must be at least 1, got 0 and 0"),
        ({"num_frames": 4, "stride": 0}, "num_frames and stride must be at least 1, got 4 and 0"),
        ({"tail": "wrap"}, "tail must be 'pad' or 'drop', got 'wrap'"),
        ({"optional": ("labels",)}, "optional must name some of image_features, .* got 'labels'"),
        ({"ids": ["A_1", "C_1"]}, "corpus has no sequence 'C_1'"),
        ({"ids": []}, "no window of 32 frames in 0 sequences"),
        ({"num_frames": 11, "tail": "drop"}, "no window of 11 frames in 3 sequences"),
    ],
)
def test_what_windows_refuse(corpus: Corpus, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Windows(corpus, **options)


def test_a_sequence_that_breaks_later(tiny_rig: FaceRig, corpus: Corpus, tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "corpus", tiny_rig, (1, 2), 25.0, muscles=corpus.muscles) as writer:
        writer.add(corpus["A_1"])
    windows = Windows(Corpus.open(tmp_path / "corpus"), num_frames=4)
    (tmp_path / "corpus" / "sequences" / "A_1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="A_1.safetensors"):
        _ = windows[0]
