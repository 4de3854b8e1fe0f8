"""``biomechau experiment built-in-metric``: the learned metric that ships with the package, made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from biomechau.commands.command import Command, load_rig
from biomechau.commands.terminal import print_lines


@dataclass(frozen=True)
class BuiltinMetric(Command):
    """Make the learned metric of the built-in face again, from seeds.

    The same numbers as those that ship, but for rounding. A minute or two.
    """

    out: Annotated[Path, arg(metavar="FILE", help="File to write (.safetensors).")]

    def run(self) -> None:
        """Make it."""
        from biomechau.commands._metric_cache import estimate_metric, model_of, packed
        from biomechau.files import replacing
        from biomechau.tensor_file import tensor_bytes

        rig = load_rig("builtin")
        dynamics = model_of(rig)
        data = tensor_bytes(*packed(estimate_metric(rig, dynamics), dynamics))
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.out) as partial:
            partial.write_bytes(data)
        print_lines(f"wrote {self.out}")
