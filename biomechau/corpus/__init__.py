"""Recordings: one sequence in memory, and the readers of the files people have."""

from biomechau.corpus.face_sequence import FaceSequence as FaceSequence
from biomechau.corpus.live_link import read_live_link as read_live_link
from biomechau.corpus.mesh_sequence import read_mesh_sequence as read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz as read_npz
from biomechau.corpus.reading import read_sequence as read_sequence
