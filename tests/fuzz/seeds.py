"""Valid inputs of every reader, small ones, and how each is read."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from corpus.corpora import write_three
from corpus.datasets.trees import write_intensities, write_live_link, write_npz, write_occurrences, write_py_feat
from corpus.made_recordings import timecode, write_recording
from corpus.tables import write_mediapipe, write_table
from rig.gltf_files import square

from biomechau.corpus import ChannelTable, Corpus, FaceSequence, Fold, ResampledCorpus, read_action_units, read_sequence
from biomechau.corpus.corpus import file_sha256
from biomechau.corpus.datasets import BP4DFolder, DISFAFolder, assemble, read_exclusions
from biomechau.corpus.force_table import read_forces
from biomechau.corpus.image_features import FEATURES, BackboneCard, ImageFeatures
from biomechau.corpus.manifest import MANIFEST
from biomechau.models import Detector, DetectorConfig
from biomechau.reports._face_scene import FaceScene
from biomechau.reports.html_report import experiment_page, scores_page
from biomechau.reports.replay import FILE as REPLAY, Replay
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig._obj import read_obj
from biomechau.training import TrainingConfig, open_runs
from biomechau.training.cross_validation import CrossValidation
from biomechau.training.evaluation import SUMMARY, Evaluation
from biomechau.training.metrics import action_unit_scores, force_recovery
from biomechau.training.run import METRICS, Run

FPS = 25.0
_NAMES = ("browInnerUp_L", "browInnerUp_R", "mouthSmile_L", "mouthSmile_R", "jawOpen")


@dataclass(frozen=True)
class Reader:
    """One way to read files.

    Attributes:
        files: a valid input, by name.
        read: reads what is in a folder, and checks that it is well-formed.
        mutable: names of the files that are changed; all if not given.
        mend: puts things right that would hide everything else, such as digests.
    """

    files: dict[str, bytes]
    read: Callable[[Path], object]
    mutable: tuple[str, ...] = ()
    mend: Callable[[dict[str, bytes]], None] = field(default=lambda files: None)


def small_rig() -> FaceRig:
    """5 x 6 vertices, 5 shapes, one identity mode."""
    x, y = torch.meshgrid(torch.linspace(-8, 8, 5), torch.linspace(-10, 10, 6), indexing="xy")
    neutral = torch.stack([x.flatten(), y.flatten(), 8 - (x.flatten() / 4) ** 2], 1)
    corner = (torch.arange(5)[:, None] * 5 + torch.arange(4)).flatten()
    faces = torch.cat([corner[:, None] + torch.tensor([0, 1, 6]), corner[:, None] + torch.tensor([0, 6, 5])])
    shapes = torch.randn(len(_NAMES), 30, 3, generator=torch.Generator().manual_seed(0))
    return FaceRig(neutral, faces, shapes, _NAMES, 0.1 * neutral[None], ("wide",), {"source": "test"})


def readers() -> dict[str, Reader]:
    """All of them by name."""
    with tempfile.TemporaryDirectory() as folder:
        return {**_recordings(Path(folder)), **_labels(Path(folder)), **_rigs(Path(folder)), **_ours(Path(folder))}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _file(path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes()}


def _check_sequence(sequence: FaceSequence) -> None:
    assert bool(sequence.coefficients[sequence.valid].isfinite().all())
    assert bool(sequence.pose.isfinite().all())
    if sequence.valid.any():
        even = sequence.resample(FPS)
        assert bool(even.coefficients.isfinite().all())
        assert bool(even.timestamp.isfinite().all())


def _sequence_of(name: str, fps: float | None = None, rig: FaceRig | None = None) -> Callable[[Path], object]:
    return lambda folder: _check_sequence(read_sequence(folder / name, rig, fps))


def _write_obj(path: Path, vertices: torch.Tensor, faces: torch.Tensor) -> None:
    lines = ["v " + " ".join(f"{value:.5f}" for value in vertex) for vertex in vertices.tolist()]
    lines += ["f " + " ".join(f"{corner + 1}/1" for corner in face) for face in faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def _recordings(folder: Path) -> dict[str, Reader]:
    rig = small_rig()
    motion = rig.neutral + torch.einsum("tk,kna->tna", torch.rand(4, 5), rig.blendshapes)
    np.savez(folder / "meshes.npz", vertices=motion.numpy(), fps=np.float64(25), valid=np.ones(4, bool))
    times = np.arange(6) / 30
    names = np.array(["jawOpen", "mouthSmileLeft"])
    np.savez(folder / "named.npz", coefficients=np.full((6, 2), 0.5, "f4"), names=names, timestamp=times)
    (folder / "objects").mkdir()
    for number in (0, 1, 3):
        _write_obj(folder / "objects" / f"f{number:03}.obj", motion[number], rig.faces)
    (folder / "polygons").mkdir()
    for number in (0, 1, 2):
        mesh = trimesh.Trimesh(motion[number].numpy(), rig.faces.numpy(), process=False)
        encoding = "ascii" if number else "binary"
        (folder / "polygons" / f"{number}.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding))
    timed = write_mediapipe(folder / "plain.csv", range(6), lost=(2,)).read_text().splitlines()
    timed = [f"timestamp,{timed[0]}", *(f"{n / 30:.3f},{line}" for n, line in enumerate(timed[1:]))]
    (folder / "mediapipe.csv").write_text("\n".join(timed) + "\n")
    openface = [[n + 1, 0, f"{n / 30:.3f}", 0.98, 1, 0.5 * n, 1.0, n % 2, 0] for n in range(6)]
    header = ["frame", *(f" {name}" for name in ("face_id", "timestamp", "confidence", "success"))]
    header += [" AU01_r", " AU12_r", " AU01_c", " AU12_c"]
    write_table(folder / "openface.csv", header, openface)
    predicted = [[n, f"{n / 25:.6f}", 0.25, 0.5] for n in range(6)]
    write_table(folder / "action_units.csv", ["frame", "timestamp", "AU01", "AU12"], predicted)

    columns = {"Timecode": timecode(30, lambda row: f"{row % 30 * 1000 // 30:03}"), "success": lambda row: row != 2}
    sheet = write_recording(folder / "sheet.csv", 40, 30, columns, separator=";", decimal=",", encoding="utf-16")
    with zipfile.ZipFile(folder / "take.zip", "w") as file:
        file.write(sheet, "take/a.csv")
    frames = [{"time": n / 30, "blendshapes": {"jawOpen": 0.1 * n}} for n in range(6)]
    (folder / "frames.json").write_text(json.dumps(frames))
    matrix = {"exportFps": 30, "facsNames": ["jawOpen", "mouthFunnel"], "weightMat": [[0.1 * n, 0.2] for n in range(6)]}
    (folder / "matrix.json").write_text(json.dumps(matrix))
    write_table(folder / "map.csv", ["channel", "shape", "weight"], [["smile", "mouthSmile_L", 0.5], ["a", "b", 1]])
    libre = [[n, f"{n * 100 / 3:.3f}", n % 2, 0.5 * n] for n in range(6)]
    write_table(folder / "libreface.csv", ["frame_idx", "frame_time_in_ms", "au_1", "au_1_intensity"], libre)

    def action_units(name: str, intensity: bool = False) -> Callable[[Path], object]:
        def read(place: Path) -> None:
            series = read_action_units(place / name, intensity)
            assert bool(series.values.isfinite().all())

        return read

    return {
        "live_link": Reader(_file(write_live_link(folder / "l.csv", 4)), _sequence_of("l.csv")),
        "mediapipe": Reader(_file(folder / "mediapipe.csv"), _sequence_of("mediapipe.csv")),
        "mediapipe_frames": Reader(_file(folder / "plain.csv"), _sequence_of("plain.csv", 30.0)),
        "py_feat": Reader(_file(write_py_feat(folder / "p.csv", range(90, 96))), _sequence_of("p.csv", 25.0)),
        "sheet": Reader(_file(folder / "sheet.csv"), _sequence_of("sheet.csv")),
        "json_matrix": Reader(_file(folder / "matrix.json"), _sequence_of("matrix.json")),
        "json_frames": Reader(_file(folder / "frames.json"), _sequence_of("frames.json")),
        "take": Reader(_file(folder / "take.zip"), _sequence_of("take.zip")),
        "channels": Reader(_file(folder / "map.csv"), lambda place: ChannelTable.load(place / "map.csv")),
        "libreface": Reader(_file(folder / "libreface.csv"), action_units("libreface.csv")),
        "npz_coefficients": Reader(_file(folder / "named.npz"), _sequence_of("named.npz")),
        "npz_numbered": Reader(_file(write_npz(folder / "n.npz", range(6))), _sequence_of("n.npz", 25.0)),
        "npz_vertices": Reader(_file(folder / "meshes.npz"), _sequence_of("meshes.npz", None, rig)),
        "obj_sequence": Reader(_files(folder / "objects"), _sequence_of(".", 25.0, rig)),
        "ply_sequence": Reader(_files(folder / "polygons"), _sequence_of(".", 25.0, rig)),
        "openface": Reader(_file(folder / "openface.csv"), action_units("openface.csv")),
        "openface_intensity": Reader(_file(folder / "openface.csv"), action_units("openface.csv", True)),
        "predicted_units": Reader(_file(folder / "action_units.csv"), action_units("action_units.csv")),
    }


def _labels(folder: Path) -> dict[str, Reader]:
    root = folder / "bp4d"
    write_occurrences(root / "F001_T1.csv", range(90, 96))
    write_mediapipe(folder / "tracked" / "F001_T1.csv", range(90, 96))
    for unit in (6, 10):
        write_intensities(folder / "intensities" / f"AU{unit:02}" / f"F001_T1_AU{unit:02}.csv", unit, range(90, 96))
        write_intensities(folder / "disfa" / "SN001" / f"SN001_au{unit // 3}.txt", unit // 3, range(1, 7))
    (folder / "excluded.csv").write_text("sequence,frame\nF001_T1,2440\nF001/T1/2441.jpg\n# note\nF002_T1\n")

    rig = small_rig()

    def labels(dataset: BP4DFolder | DISFAFolder) -> None:
        (sequence,) = dataset.find()[0]
        found = dataset.read_labels(sequence)
        assert len(found.labels) == len(found.frame) < 10**7

    def joined(place: Path) -> None:
        assembly = assemble(BP4DFolder(place), place / "tracked", rig, recorded_fps=25.0)
        for fault in assembly.faults:
            raise ValueError(fault.text)

    rows = {**_files(root), "tracked/F001_T1.csv": (folder / "tracked" / "F001_T1.csv").read_bytes()}
    return {
        "occurrences": Reader(_files(root), lambda place: labels(BP4DFolder(place))),
        "intensities": Reader(
            _files(folder / "intensities"), lambda place: labels(BP4DFolder(place, "intensity", (6, 10)))
        ),
        "disfa": Reader(_files(folder / "disfa"), lambda place: labels(DISFAFolder(place, (2,)))),
        "exclusions": Reader(_file(folder / "excluded.csv"), lambda place: read_exclusions(place / "excluded.csv")),
        "data_set": Reader(rows, joined),
    }


def _rigs(folder: Path) -> dict[str, Reader]:
    rig = small_rig()
    rig.save(folder / "rig.safetensors")
    (folder / "shapes").mkdir()
    _write_obj(folder / "shapes" / "Neutral.obj", rig.neutral, rig.faces)
    _write_obj(folder / "shapes" / "jawOpen.obj", rig.neutral + rig.blendshapes[4], rig.faces)
    Muscles(Muscles.facs()[:6]).save(folder / "muscles.csv")
    square().write_glb(folder / "face.glb")
    (folder / "gltf").mkdir()
    square().write_gltf(folder / "gltf" / "face.gltf", "face.bin")

    def check(rig: FaceRig) -> None:
        for tensor in (rig.neutral, rig.blendshapes, rig.identity):
            assert bool(tensor.isfinite().all())

    return {
        "obj": Reader(
            _file(folder / "shapes" / "jawOpen.obj"), lambda place: read_obj(place / "jawOpen.obj").triangles()
        ),
        "obj_directory": Reader(_files(folder / "shapes"), lambda place: check(FaceRig.from_obj_directory(place))),
        "glb": Reader(_file(folder / "face.glb"), lambda place: check(FaceRig.from_gltf(place / "face.glb"))),
        "gltf": Reader(_files(folder / "gltf"), lambda place: check(FaceRig.from_gltf(place / "face.gltf"))),
        "rig": Reader(_file(folder / "rig.safetensors"), lambda place: check(FaceRig.load(place / "rig.safetensors"))),
        "muscles": Reader(_file(folder / "muscles.csv"), lambda place: Muscles.load(place / "muscles.csv")),
    }


def _ours(folder: Path) -> dict[str, Reader]:
    """What the package itself writes."""
    rig = small_rig()
    corpus = _corpus(folder / "corpus", rig)
    run = _run(folder / "run" / "fold1", rig, corpus)
    evaluation = _evaluation()
    evaluation.save(folder / "fold")
    CrossValidation({1: evaluation}, True).save(folder / "scores")
    _replay(rig).save(folder / REPLAY)
    forces = [[n, f"{n / 25:.6f}", n, 1.0, *(("", "") if n == 2 else (0.1 * n, 0.2)), 0.0] for n in range(6)]
    names = ["frame", "timestamp", "recorded_frame", "quality", *_MUSCLES, f"{_MUSCLES[0]}_sd"]
    write_table(folder / "forces.csv", names, forces)
    (folder / "table").mkdir()
    write_table(folder / "table" / "table.csv", ["row", "AU1", "Avg."], [["ours", "50.1", "50.1"]])
    (folder / "table" / "card.json").write_text('{"title": "Table 1", "notes": ["a"], "seeds": [0, 1]}')
    return {
        "corpus": Reader(_files(folder / "corpus"), _read_corpus, mend=_mend_corpus),
        "run": Reader(_files(run.path), lambda place: open_runs(place), ("config.json",)),
        "detector": Reader(
            _files(run.path), lambda place: _check_detector(Detector.load(place)), _DETECTOR, _mend_detector
        ),
        "metrics": Reader(_files(run.path), lambda place: Run.open(place).metrics(), (METRICS,)),
        "evaluation": Reader(_file(folder / "fold" / SUMMARY), Evaluation.load),
        "scores": Reader(_file(folder / "scores" / SUMMARY), scores_page),
        "replay": Reader(_file(folder / REPLAY), lambda place: Replay.load(place / REPLAY).peak_vertex_force()),
        "forces": Reader(_file(folder / "forces.csv"), _check_forces),
        "experiment": Reader(_files(folder / "table"), lambda place: experiment_page([place])),
    }


_MUSCLES = ("zygomaticus_major_left", "zygomaticus_major_right")


def _check_forces(place: Path) -> None:
    forces = read_forces(place / "forces.csv", _MUSCLES).resample(FPS)
    assert bool((forces >= 0).all())
    assert len(forces) < 10**7


_DETECTOR = ("detector.json", "detector.safetensors")


def _corpus(path: Path, rig: FaceRig) -> Corpus:
    write_three(path, rig)
    card = BackboneCard("net", "0", 2)
    features = ImageFeatures.start(path / FEATURES, card, file_sha256(path / MANIFEST))
    for sequence in Corpus.open(path):
        features.write(sequence.id, torch.rand(len(sequence), 2), torch.ones(len(sequence), dtype=torch.bool))
    return Corpus.open(path)


def _read_corpus(place: Path) -> None:
    corpus = Corpus.open(place)
    for sequence in corpus:
        for tensor in sequence.tensors.values():
            assert not tensor.dtype.is_floating_point or bool(tensor.isfinite().all())
    corpus.label_rates()
    assert corpus.rig.num_shapes == len(corpus.shapes)
    for sequence in ResampledCorpus(corpus, 30.0):
        assert len(sequence) < 10**7


def _mend_corpus(files: dict[str, bytes]) -> None:
    _put_digests(files, MANIFEST, lambda values: values["rig"], {"sha256": "rig.safetensors"})
    _put_digests(files, f"{FEATURES}/features.json", lambda values: values, {"corpus_sha256": MANIFEST})


def _mend_detector(files: dict[str, bytes]) -> None:
    _put_digests(files, "detector.json", lambda values: values["sha256"], {n: n for n in _DETECTOR[1:]})


def _put_digests(files: dict[str, bytes], name: str, where: Callable[[Any], Any], of: dict[str, str]) -> None:
    try:
        values = json.loads(files[name])
        where(values).update({key: hashlib.sha256(files[file]).hexdigest() for key, file in of.items()})
        files[name] = json.dumps(values).encode(errors="surrogatepass")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return  # too broken to be mended


def _run(path: Path, rig: FaceRig, corpus: Corpus) -> Run:
    config = DetectorConfig(action_units=(1, 4, 12), hidden=4, head_hidden=4, context=1)
    run = Run.new(path, TrainingConfig(detector=config), Fold(("a",), ("b",), ("c",)), corpus)
    run.save()
    muscles = Muscles(muscle for muscle in Muscles.facs() if not set(muscle.shapes) - {*_NAMES, "browInnerUp"})
    Detector(rig, Distribution.from_rig(rig, Muscles(m for m in muscles if m.shapes)), config).save(path)
    write_table(path / METRICS, ["epoch", "loss"], [[0, 1.5], [1, 0.5]])
    return run


def _check_detector(detector: Detector) -> None:
    for name, tensor in detector.state_dict().items():
        assert not tensor.dtype.is_floating_point or bool(tensor.isfinite().all()), name


def _evaluation() -> Evaluation:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (20, 2), generator=generator)
    scores = action_unit_scores(torch.rand(20, 2, generator=generator), labels, (1, 12))
    forces = torch.rand(20, 2, generator=generator)
    return Evaluation(scores, force_recovery(forces, forces, ("a_left", "a_right")), 0.5, {"test": {"subjects": ["c"]}})


def _replay(rig: FaceRig) -> Replay:
    frames, muscles = 5, ("a_left", "a_right")
    scene = FaceScene(
        rig.neutral, rig.faces, rig.faces[:2].clone(), rig.blendshapes, torch.rand(len(muscles), rig.num_vertices, 3)
    )
    motion = torch.rand(frames, dtype=torch.float64)
    return Replay(
        *("clip", scene, muscles, (1, 12), "unit", "force", "motion"),
        timestamp=torch.arange(frames, dtype=torch.float64) / 25,
        valid=torch.ones(frames, dtype=torch.bool),
        coefficients=torch.rand(frames, rig.num_shapes),
        forces=torch.rand(frames, len(muscles)),
        motion=motion,
        residual=0.1 * motion,
        probabilities=torch.rand(frames, 2),
        labels=torch.ones(frames, 2, dtype=torch.int8),
    )
