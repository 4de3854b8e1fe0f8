"""The compiled module: its stub, its independence of torch, its memory safety."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ops.cases import force_problem, modal_problem, rollout_problem
from ops.convolutions import convolution_problem

import biomechau
from biomechau import _core, ops
from biomechau.ops._distribution import core_index
from biomechau.ops.euler_rollout import RolloutOperators, _fault

STUB = Path(biomechau.__file__).with_name("_core.pyi")


def stub_signatures() -> dict[str, list[str] | None]:
    """Public names of the stub; argument names for functions and constructors, None for variables."""
    found: dict[str, list[str] | None] = {}
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [arg.arg for arg in node.args.args]
        elif isinstance(node, ast.ClassDef):
            constructor = next(item for item in node.body if isinstance(item, ast.FunctionDef))
            found[node.name] = [arg.arg for arg in constructor.args.args[1:]]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = None
    return found


def module_signatures() -> dict[str, list[str] | None]:
    """The same of the module, from the signatures that pybind11 writes into the docstrings."""
    found: dict[str, list[str] | None] = {}
    for name, value in vars(_core).items():
        if name.startswith("_"):
            continue
        target = value.__init__ if isinstance(value, type) else value
        if callable(target):
            doc = target.__doc__ or ""
            names = re.findall(r"[(,] ?(\w+): ", doc.splitlines()[0])
            found[name] = [argument for argument in names if argument != "self"]
        else:
            found[name] = None
    return found


def test_stub_says_what_the_module_has() -> None:
    assert stub_signatures() == module_signatures()


def test_rollout_faults_have_an_error_each() -> None:
    """Whatever the kernels report, Python has words for it."""
    operators = RolloutOperators(torch.eye(2), torch.zeros(2), torch.zeros(2), None, None, 0.1, 0)
    names = [str(_fault(kind, 0, operators, torch.eye(2), 0)) for kind in range(1, len(_core.rollout_faults))]
    assert _core.rollout_faults[0] == "none"
    assert len(set(names)) == len(names) == 5


def test_extension_does_not_need_torch() -> None:
    path = _core.__file__
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('_core', {path!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "assert 'torch' not in sys.modules\n"
        "print(module.isa())\n"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == _core.isa()


READ = """
import torch
without_dlpack = {without_dlpack}
if without_dlpack and hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    del torch.Tensor.__dlpack_c_exchange_api__
from biomechau import ops
for dtype in (torch.float32, torch.float64):
    blendshapes, mass = torch.rand(3, 5, 3, dtype=dtype), torch.rand(2, 5, dtype=dtype)
    negative = torch._neg_view(-mass)
    assert negative.is_neg()
    expected = ops.reference.generalized_mass(blendshapes, mass)
    for changed in (mass.T.contiguous().T, mass.expand(4, 2, 5)[1], torch.cat([mass, mass])[2:], negative):
        assert torch.allclose(ops.generalized_mass(blendshapes, changed), expected)
    assert ops.generalized_mass(blendshapes, mass[:0]).shape == (0, 3, 3)
"""


@pytest.mark.parametrize("without_dlpack", [False, True])
def test_tensors_are_read_as_they_lie(without_dlpack: bool) -> None:
    """Also with versions of torch that lend no memory by DLPack's C interface."""
    code = READ.format(without_dlpack=without_dlpack)
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


@pytest.mark.parametrize(
    "value",
    [torch.zeros(4).numpy(), torch.zeros(4).half(), torch.zeros(4).tolist(), 3, "x", (1, 2), torch.zeros(4).is_neg],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_tensor_of_a_kernel_is_refused(value: Any) -> None:
    one = torch.ones(1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.apply_projection_fwd(1, 1, 1, value, one, one, 1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.apply_projection_fwd(1, 1, 1, one, one, value, 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not _core.openmp, reason="counts the threads of a Linux process")
def test_kernels_run_on_the_threads_of_torch() -> None:
    code = (
        "import biomechau.ops, os, torch\n"
        "threads = lambda: len(os.listdir('/proc/self/task'))\n"
        "torch.set_num_threads(3)\n"
        "before = threads()\n"
        "torch.rand(2**22).exp_()\n"
        "with_torch = threads()\n"
        "biomechau.ops.generalized_mass(torch.rand(20, 9_000, 3), torch.rand(4, 9_000))\n"
        "print(with_torch - before, threads() - with_torch)\n"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    started, more = map(int, run.stdout.split())
    assert started >= 2
    assert more == 0


def test_an_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(ValueError, match="no kernels named 'sse9'"):
        _core.select_isa("sse9")


class TestBuffersAreCompared:
    """Wrong sizes reach the binding only by its direct use; it must refuse before it touches memory."""

    floats = torch.zeros(30)
    index = torch.tensor([0, 1, 2])

    def arguments(self, **changes: Any) -> list[Any]:
        """Index, values and directions of P."""
        arguments = {
            "num_vertices": 2,
            "crow": self.index,
            "col": self.index[:2],
            "muscle_crow": self.index,
            "muscle_row": self.index[:2],
            "muscle_entry": self.index[:2],
            "num_muscles": 2,
            "val": self.floats[:2],
            "directions": None,
        }
        *index, val, directions = {**arguments, **changes}.values()
        return [_core.DistributionIndex(*index), val, directions]

    def run(self, arguments: list[Any], force: int = 6, out: int = 6, threads: int = 1) -> None:
        index, val, directions = arguments
        _core.distribute_forces_fwd(index, val, directions, 1, self.floats[:force], torch.zeros(out), threads)

    def test_the_good_call_passes(self) -> None:
        self.run(self.arguments())

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"crow": (8, 5, 2)}, "crow must have 3 elements, got 5"),
            ({"val": (1, 3, 0)}, "val must have 2 elements, got 3"),
            ({"muscle_row": (1, 2, 0)}, "muscle_row must be int64, got float32"),
            ({"num_vertices": -1}, "num_vertices must lie between 0 and 2147483647, got -1"),
            ({"directions": (1, 1, 0)}, "directions must have 6 elements, got 1"),
            ({"num_muscles": 1}, "muscle_crow must have 2 elements"),
            ({"val": (0, 2, 0)}, "val must have an address, got 0"),
            ({"val": (2, 2, 0)}, "val must lie at a multiple of 4 bytes, got address 2"),
            ({"val": (1, 2, 3)}, "val must be float32 or float64, got int32"),
        ],
    )
    def test_a_wrong_size(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.run(self.arguments(**changes))

    def test_a_wild_index(self) -> None:
        wild, negative, falling = (torch.tensor(index) for index in ([0, 7], [0, -7], [0, 9, 2]))
        with pytest.raises(ValueError, match="col holds an index out of range"):
            self.run(self.arguments(col=wild))
        with pytest.raises(ValueError, match="muscle_entry holds an index out of range"):
            self.run(self.arguments(muscle_entry=negative))
        with pytest.raises(ValueError, match="crow must rise from 0"):
            self.run(self.arguments(crow=falling))

    def test_wrong_sizes_of_the_call(self) -> None:
        with pytest.raises(ValueError, match="force must have 6 elements, got 5"):
            self.run(self.arguments(), force=5)
        with pytest.raises(ValueError, match="out must have 6 elements, got 7"):
            self.run(self.arguments(), out=7)

    @pytest.mark.parametrize("threads", [0, -1, 4097, 100_000, 2**32 + 1])
    def test_a_wrong_number_of_threads(self, threads: int) -> None:
        with pytest.raises(ValueError, match=f"num_threads must lie between 1 and 4096, got {threads}"):
            self.run(self.arguments(), threads=threads)

    @pytest.mark.parametrize("num_vertices", [2**31, 2**62, 2**63 - 1])
    def test_a_size_that_is_too_large(self, num_vertices: int) -> None:
        """Without elements: products with the other sizes say nothing."""
        message = f"num_vertices must lie between 0 and 2147483647, got {num_vertices}"
        with pytest.raises(ValueError, match=message):
            _core.generalized_mass_fwd(0, num_vertices, 0, 1.0, None, None, None, None, None, None, 1)
        with pytest.raises(ValueError, match=message):
            _core.generalized_mass_fwd_workspace(0, num_vertices, 0)

    def test_a_tensor_with_a_huge_axis_and_no_elements(self) -> None:
        with pytest.raises(ValueError, match="num_vertices must lie between 0 and 2147483647, got 1099511627776"):
            ops.generalized_mass(torch.empty(0, 2**40, 3), torch.empty(0, 2**40))

    def test_sizes_that_are_too_large_together(self) -> None:
        message = "too large together: num_sequences = 1, num_vertices = 1048576, num_shapes = 1048576, num_shapes"
        one = self.floats[:1]
        with pytest.raises(ValueError, match=message):
            _core.generalized_mass_fwd(1, 2**20, 2**20, 1.0, one, None, one, one, None, None, 1)
        with pytest.raises(ValueError, match=message):
            _core.generalized_mass_fwd_workspace(1, 2**20, 2**20)

    def test_many_frames_of_nothing(self) -> None:
        _core.apply_projection_fwd(2**31 - 1, 0, 0, None, None, None, 1)
        with pytest.raises(ValueError, match="num_frames must lie between 0 and 2147483647, got 2147483648"):
            _core.apply_projection_fwd(2**31, 0, 0, None, None, None, 1)

    def test_a_gradient_that_is_not_wanted(self) -> None:
        """Of packed blendshapes and forces along three axes, where there is no other."""
        p = force_problem(num_vertices=5)
        b = ops.PackedBlendshapes(p.blendshapes)
        packed = _core.PackedBlendshapes(5, 5, *(b.vertex_crow, b.shape_crow, b.vertices, b.shapes, b.rows))
        index = core_index(p.distribution.index)
        grad_out = torch.ones(5, 4, 3, dtype=torch.float64)
        _core.reduced_projection_bwd(
            index, p.distribution.val, None, 5, None, packed, None, grad_out, None, None, None, 1
        )

    def test_rollout(self) -> None:
        memory = [torch.zeros(size, dtype=torch.float64) for size in (4, 6, 2)]
        square, states, state = memory

        def run(c0: Any = state, **changes: Any) -> None:
            settings = {"dt": 0.1, "scheme": 0, "mass_span": 1, "damping_span": 0, "stiffness_span": 0, **changes}
            operators = _core.RolloutOperators(1, 3, 2, square, c0, state, None, None, **settings)
            outputs = (states, states, states, square)
            _core.euler_rollout_fwd(operators, states, *outputs, None, None, 1)

        with pytest.raises(ValueError, match="c0 must have 2 elements, got 6"):
            run(c0=states)
        for bad, message in [
            ({"scheme": 7}, "scheme must be 0, 1 or 2"),
            ({"mass_span": 9}, "axis that the rollout does not know"),
            ({"scheme": 2, "mass_span": 3}, "a mass per frame needs the explicit or semi-implicit scheme"),
            ({"dt": 0.0}, "dt must be a positive number in the precision"),
        ]:
            with pytest.raises(ValueError, match=message):
                run(**bad)

    def test_modal_rollout(self) -> None:
        states, state, force = (self.floats[:size] for size in (6, 2, 3))
        many = torch.zeros(3 * 16 + 4 * 2 * 16 + 16 + 2 * 16)
        constants = many
        c, v = torch.zeros(6), torch.zeros(6)

        def run(**changes: Any) -> None:
            sizes = {"scheme": 0, "dt": 0.1, "num_inputs": 1, "has_modes": True, **changes}
            _core.modal_rollout_fwd(
                _core.ModalSizes(1, 3, 2, sizes["num_inputs"], sizes["scheme"], sizes["dt"], sizes["has_modes"]),
                constants,
                states,
                force,
                state,
                state,
                c,
                v,
                1,
            )

        run()
        for bad, message in [
            ({"scheme": 7}, "scheme must be 0, 1 or 2"),
            ({"dt": 0.0}, "dt must be a positive number in the precision"),
            ({"has_modes": False}, "constants must have 160 elements, got 224"),
            ({"num_inputs": -1}, "num_inputs must lie between 0 and 2147483647, got -1"),
            ({"num_inputs": 2**62}, "num_inputs must lie between 0 and 2147483647, got 4611686018427387904"),
        ]:
            with pytest.raises(ValueError, match=message):
                run(**bad)


def test_every_size_of_every_kernel_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element too many in any one buffer of any kernel is an error, whatever the others are."""
    seen = set()

    def checking(name: str, original: Any) -> Any:
        def call(*args: Any) -> Any:
            seen.add(name)
            for i, argument in enumerate(args):
                if not isinstance(argument, tuple):
                    continue
                address, numel, code = argument
                assert numel > 0, (name, i)
                other = 1 if code == 2 else 2
                for wrong in ((address, numel + 1, code), (address, numel, other), (0, numel, code)):
                    with pytest.raises(ValueError, match=r"\d+ elements|must be (float|int)\d\d|must have an address"):
                        original(*args[:i], wrong, *args[i + 1 :])
            return original(*args)

        return call

    kernels = {name for name in stub_signatures() if name.endswith(("_fwd", "_bwd"))}
    for name in kernels:
        monkeypatch.setattr(_core, name, checking(name, getattr(_core, name)))
    p = force_problem(fibre=True)
    r = rollout_problem(mass_axes="sequence", elastic_axes="sequence")
    dt = r.pop("dt")
    distribution = p.distribution.with_values(p.distribution.val.requires_grad_())
    masses = torch.rand(2, 40, dtype=torch.float64, requires_grad=True)
    assert p.directions is not None
    for tensor in (p.force, p.blendshapes, p.directions, *r.values()):
        tensor.requires_grad_()
    convolution = convolution_problem(every=4)
    for name in ("x", "weight", "bias"):
        convolution[name].requires_grad_()
    system, inputs = modal_problem()
    for tensor in inputs.values():
        tensor.requires_grad_()
    outputs = [
        ops.chebyshev_conv(**convolution),
        *ops.modal_rollout(system, **inputs),
        ops.distribute_forces(distribution, p.force, p.directions),
        ops.force_projection(p.blendshapes, distribution, p.force, p.directions),
        ops.generalized_mass(p.blendshapes, masses),
        *ops.euler_rollout(**r, dt=dt),
    ]
    torch.stack([out.sum() for out in outputs]).sum().backward()
    assert seen == kernels
