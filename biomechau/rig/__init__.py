"""Face rigs: neutral mesh, blendshapes, muscles and where they pull."""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.rig.distribution import Distribution, fibre_directions
    from biomechau.rig.face_rig import FaceRig
    from biomechau.rig.muscles import Muscle, Muscles

__all__ = [
    "Distribution",
    "FaceRig",
    "Muscle",
    "Muscles",
    "fibre_directions",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "distribution": ("Distribution", "fibre_directions"),
        "face_rig": ("FaceRig",),
        "muscles": ("Muscle", "Muscles"),
    },
)
