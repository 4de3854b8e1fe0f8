"""What ``import biomechau`` loads."""

import subprocess
import sys


def test_slow_libraries_are_imported_when_they_are_used() -> None:
    """scipy.signal and trimesh add about a second to the import, and most uses of the package need neither."""
    code = "import sys, biomechau; print([name for name in ('scipy.signal', 'trimesh') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_analyse_and_predict_are_loaded_without_lightning() -> None:
    code = "import sys; from biomechau import analyse, predict; print('lightning' in sys.modules, predict.__module__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False biomechau.analysis.detection\n"
