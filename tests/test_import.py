"""What ``import biomechau`` loads."""

import subprocess
import sys


def test_slow_libraries_are_imported_when_they_are_used() -> None:
    """scipy.signal and trimesh add about a second to the import, and most uses of the package need neither."""
    code = "import sys, biomechau; print([name for name in ('scipy.signal', 'trimesh') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_names_are_there_without_torch() -> None:
    code = (
        "import sys, biomechau; assert set(biomechau.__all__) <= set(dir(biomechau)); "
        "assert 'torch' not in sys.modules; from biomechau import *; "
        "assert FaceRig is biomechau.rig.FaceRig; assert biomechau.physics.PhysicsConfig is PhysicsConfig; "
        "assert all(hasattr(biomechau, name) for name in biomechau.__all__); assert not hasattr(biomechau, 'nothing')"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_analyse_and_predict_are_loaded_without_lightning() -> None:
    code = "import sys; from biomechau import analyse, predict; print('lightning' in sys.modules, predict.__module__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False biomechau.analysis.detection\n"
