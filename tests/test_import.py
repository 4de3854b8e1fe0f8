"""What ``import biomechau`` loads."""

import subprocess
import sys


def test_slow_libraries_are_imported_when_they_are_used() -> None:
    """scipy.signal and trimesh add about a second to the import, and most uses of the package need neither."""
    code = "import sys, biomechau; print([name for name in ('scipy.signal', 'trimesh') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


_CODE = """
import sys, biomechau
assert set(biomechau.__all__) <= set(dir(biomechau))
assert "torch" not in sys.modules
from biomechau import *
assert FaceRig is biomechau.rig.FaceRig and biomechau.physics.PhysicsConfig is PhysicsConfig
assert predict.__module__ == "biomechau.analysis.detection"
assert all(hasattr(biomechau, name) for name in biomechau.__all__) and not hasattr(biomechau, "nothing")
from biomechau.commands import demo, evaluate, experiment, forces, predict, report, rig, train
print({"lightning", "matplotlib", "pyvista"} & set(sys.modules))
"""


def test_public_names_are_there_without_torch_and_commands_without_lightning_and_drawing() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", _CODE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")
