"""The options of ``train`` that the tables of ``experiment`` take too."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro
from tyro.conf import Fixed, OmitArgPrefixes, Suppress, arg

from biomechau.commands.command import Command
from biomechau.corpus.fold import Validation
from biomechau.models import DetectorConfig
from biomechau.physics import PhysicsConfig
from biomechau.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from typing_extensions import Self

    from biomechau.corpus import Corpus

T = TypeVar("T")
# A field that is no option.
NoOption = Suppress[Fixed[T]]
Setting = Literal["ours", "paper"]


@dataclass(frozen=True)
class _Physics(PhysicsConfig):
    fps: NoOption[float] = 25.0


@dataclass(frozen=True)
class Detector(DetectorConfig):
    """The detector's parts and sizes."""

    # What the corpus decides: the command has options of its own for these.
    action_units: NoOption[tuple[int, ...]] = (1,)
    physics: _Physics = field(default_factory=_Physics)
    num_image_features: NoOption[int] = 0


@dataclass(frozen=True)
class Options(TrainingConfig):
    """The options of a training on the command line; as JSON it is a :class:`TrainingConfig`."""

    detector: OmitArgPrefixes[Detector] = field(default_factory=Detector)


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command):
    """What every command that trains takes."""

    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder to train on.")]
    setting: Annotated[
        Setting, arg(help="What the other options start from: this package's defaults, or the letter of the paper.")
    ] = "ours"
    num_folds: Annotated[
        int,
        arg(help="Folds to cut the subjects into; 3 are the literature's for the subjects of BP4D or DISFA."),
    ] = 3
    fold_seed: Annotated[int, arg(help="Seed of the cut, and of the choice of the validation subjects.")] = 0
    validation: Annotated[
        Validation,
        arg(help='Subjects that choose the weights: some of those to train on, or "test" as in many publications.'),
    ] = "train"
    action_units: Annotated[
        tuple[int, ...] | None,
        arg(metavar="AU ...", help="Numbers of the action units to detect; all of the corpus if not given."),
    ] = None
    fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate that the corpus must have [1/s]; any if not given.")
    ] = None
    num_image_features: Annotated[
        int | None,
        arg(metavar="D", help="Number of image features that the corpus must have; any if not given."),
    ] = None
    training: Annotated[Options, arg(name="")] = field(default_factory=Options)

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """Defaults of the options, which depend on the setting among the arguments."""
        setting = _setting_of(arguments)
        config = TrainingConfig.paper() if setting == "paper" else TrainingConfig()
        own = {field.name: field for field in fields(cls)}
        required = [n for n, f in own.items() if f.default is MISSING and f.default_factory is MISSING]
        values: dict[str, Any] = dict.fromkeys(required, tyro.MISSING)
        options: Any = own["training"].default_factory
        return cls(**values, setting=setting, training=options.from_json(config.to_json()))

    @property
    def config(self) -> TrainingConfig:
        """The options of the training, before the corpus is known."""
        return TrainingConfig.from_json(self.training.to_json())

    def config_for(self, corpus: Corpus) -> TrainingConfig:
        """The options of the training on a corpus.

        Raises:
            ValueError: the corpus has not what the options ask for.
        """
        return self.config.for_corpus(corpus, self.action_units, self.fps, self.num_image_features)


@dataclass(frozen=True)
class _SettingAlone:
    setting: Setting = "ours"


def _setting_of(arguments: Sequence[str]) -> Setting:
    """The setting that a command line asks for, which the defaults of its other options depend on."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(_SettingAlone, args=arguments, return_unknown_args=True, add_help=False)[0].setting
    except SystemExit:  # the parser of all options says what is wrong
        return "ours"
