"""Face rigs: neutral mesh, blendshapes, muscles and where they pull."""

from biomechau.rig.distribution import Distribution as Distribution, fibre_directions as fibre_directions
from biomechau.rig.face_rig import FaceRig as FaceRig
from biomechau.rig.muscles import Muscle as Muscle, Muscles as Muscles
