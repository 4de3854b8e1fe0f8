"""biomechau: muscle forces and facial action units from 3D facial motion."""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from biomechau import _core as _core, ops
    from biomechau.analysis import analyse, animate, predict
    from biomechau.corpus import FaceSequence, read_sequence
    from biomechau.physics import FaceDynamics, InverseOptions, PhysicsConfig, inverse_dynamics
    from biomechau.rig import Distribution, FaceRig, Muscles

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
    "animate",
    "inverse_dynamics",
    "ops",
    "predict",
    "read_sequence",
]

# Imported when they are first asked for: torch takes seconds, and the help of the command line does without.
_ROOMS = ("analysis", "corpus", "ops", "physics", "rig")
_HOMES = {
    "Distribution": "rig",
    "FaceDynamics": "physics",
    "FaceRig": "rig",
    "FaceSequence": "corpus",
    "InverseOptions": "physics",
    "Muscles": "rig",
    "PhysicsConfig": "physics",
    "analyse": "analysis",
    "animate": "analysis",
    "inverse_dynamics": "physics",
    "predict": "analysis",
    "read_sequence": "corpus",
}


def __getattr__(name: str) -> Any:
    if name == "_core":
        return _compiled_core()
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _compiled_core() -> Any:
    import torch as _torch  # noqa: F401  # before the core: its kernels then run on the threads of torch's OpenMP

    try:
        return _import_module(f"{__name__}._core")
    except ImportError as error:
        raise ImportError(
            "the compiled core of biomechau cannot be imported. In a source checkout, install it first "
            "(pip install . and run from another folder, or pip install -e . --no-build-isolation)"
        ) from error
