"""The options of ``train``, which the tables of ``experiment`` share."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, arg

from biomechau.commands.command import Command, NoOption, PhysicsOptions
from biomechau.corpus.fold import Validation
from biomechau.models import DetectorConfig
from biomechau.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from typing_extensions import Self

    from biomechau.corpus import Corpus

Setting = Literal["ours", "paper"]


@dataclass(frozen=True)
class Detector(DetectorConfig):
    """Components of the detector and their sizes."""

    # Determined by the corpus; the command has its own options for these.
    action_units: NoOption[tuple[int, ...]] = (1,)
    intensity_units: NoOption[tuple[int, ...] | None] = None
    physics: PhysicsOptions = field(default_factory=PhysicsOptions)
    num_image_features: NoOption[int] = 0


@dataclass(frozen=True)
class Options(TrainingConfig):
    """Training options on the command line; their JSON is that of a :class:`TrainingConfig`."""

    detector: OmitArgPrefixes[Detector] = field(default_factory=Detector)


@dataclass(frozen=True, kw_only=True)
class TrainingCommand(Command):
    """Base class of commands that train."""

    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder to train on.")]
    setting: Annotated[
        Setting, arg(help="Defaults of the other options: this package's, or exactly those of the paper.")
    ] = "ours"
    num_folds: Annotated[
        int,
        arg(help="Number of folds; with 3, subjects of BP4D or DISFA are split as in the literature."),
    ] = 3
    fold_seed: Annotated[int, arg(help="Seed of the split into folds and validation subjects.")] = 0
    validation: Annotated[
        Validation,
        arg(help='Subjects that select the weights: some of the training subjects, or "test" as in many publications.'),
    ] = "train"
    action_units: Annotated[
        tuple[int, ...] | None,
        arg(metavar="AU ...", help="Action units to detect, by number; all of the corpus if not given."),
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
        """Defaults of the options, which depend on the setting in the arguments."""
        setting = _setting_of(arguments)
        config = TrainingConfig.paper() if setting == "paper" else TrainingConfig()
        own = {field.name: field for field in fields(cls)}
        required = [n for n, f in own.items() if f.default is MISSING and f.default_factory is MISSING]
        values: dict[str, Any] = dict.fromkeys(required, tyro.MISSING)
        options: Any = own["training"].default_factory
        return cls(**values, setting=setting, training=options.from_json(config.to_json()))

    @property
    def config(self) -> TrainingConfig:
        """The training options, before the corpus is known."""
        return TrainingConfig.from_json(self.training.to_json())

    def config_for(self, corpus: Corpus) -> TrainingConfig:
        """The training options for a corpus.

        Raises:
            ValueError: the corpus does not meet the options.
        """
        return self.config.for_corpus(corpus, self.action_units, self.fps, self.num_image_features)


@dataclass(frozen=True)
class _SettingAlone:
    setting: Setting = "ours"


def _setting_of(arguments: Sequence[str]) -> Setting:
    """The setting on a command line, which determines the defaults of its other options."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return tyro.cli(_SettingAlone, args=arguments, return_unknown_args=True, add_help=False)[0].setting
    except SystemExit:  # the parser of all options reports what is wrong
        return "ours"
