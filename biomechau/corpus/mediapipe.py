"""The blendshapes of MediaPipe's face landmarker."""

from __future__ import annotations

from biomechau.rig.names import ARKIT_SHAPES

# Its 52 outputs, in its order: no tongue, and a first one that is no shape.
NEUTRAL = "_neutral"
MEDIAPIPE_SHAPES = tuple(sorted(name for name in ARKIT_SHAPES if name != "tongueOut"))
