"""Muscle forces and facial action units from 3D facial motion."""

from importlib.metadata import version as _version

from biomechau import ops as ops

__version__ = _version("biomechau")
