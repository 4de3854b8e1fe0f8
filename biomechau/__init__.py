"""biomechau: muscle forces and facial action units from 3D facial motion."""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

import torch as _torch  # noqa: F401  # before the core: its kernels then run on the threads of torch's OpenMP

try:
    from biomechau import _core as _core
except ImportError as error:
    raise ImportError(
        "the compiled core of biomechau cannot be imported. In a source checkout, install it first "
        "(pip install . and run from another folder, or pip install -e . --no-build-isolation)"
    ) from error

from biomechau import ops
from biomechau.corpus import FaceSequence, read_sequence
from biomechau.physics import FaceDynamics, InverseOptions, PhysicsConfig, inverse_dynamics
from biomechau.rig import Distribution, FaceRig, Muscles

if TYPE_CHECKING:
    from biomechau.analysis import analyse, predict

__version__ = _version("biomechau")

__all__ = [
    "Distribution",
    "FaceDynamics",
    "FaceRig",
    "FaceSequence",
    "InverseOptions",
    "Muscles",
    "PhysicsConfig",
    "__version__",
    "analyse",
    "inverse_dynamics",
    "ops",
    "predict",
    "read_sequence",
]


def __getattr__(name: str) -> Any:
    if name not in ("analyse", "predict"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from biomechau import analysis

    return getattr(analysis, name)
