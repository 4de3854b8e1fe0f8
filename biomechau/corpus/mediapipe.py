"""The blendshapes of MediaPipe's face landmarker."""

from __future__ import annotations

from biomechau.rig.names import ARKIT_SHAPES

# Its 52 outputs, in its order: _neutral, which is not a shape, and ARKit's shapes without the tongue.
NEUTRAL = "_neutral"
MEDIAPIPE_SHAPES = tuple(sorted(name for name in ARKIT_SHAPES if name != "tongueOut"))
