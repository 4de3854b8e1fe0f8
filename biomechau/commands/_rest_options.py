"""Options that say where a person's face rests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from biomechau.commands._reading_options import ReadingOptions
from biomechau.file_errors import quote

if TYPE_CHECKING:
    from biomechau.corpus.calibration import NeutralSource
    from biomechau.rig import FaceRig


@dataclass(frozen=True)
class RestOptions:
    """Where the neutral face is, whose coefficients are subtracted."""

    neutral_frames: Annotated[
        str | None,
        arg(
            metavar="A:B",
            help="The face rests in the frames A to B of the recording (or of --neutral-from), as recorded_frame "
            "counts them: their median is subtracted.",
        ),
    ] = None
    neutral_from: Annotated[
        Path | None, arg(metavar="FILE", help="Recording of the same person at rest, whose median is subtracted.")
    ] = None

    def check(self, percentile: float | None = None) -> None:
        """Check the options.

        Raises:
            ValueError: frames that do not rise, or a percentile (``--neutral``) beside them.
            FileNotFoundError: there is no such recording.
        """
        if not self.given:
            return
        if percentile is not None:
            raise ValueError(
                "--neutral takes a percentile of all frames, --neutral-frames and --neutral-from say where the face "
                "rests: choose one"
            )
        if self.neutral_from is not None and not self.neutral_from.exists():
            raise FileNotFoundError(f"{self.neutral_from}: No such file or directory (--neutral-from)")

    @property
    def given(self) -> bool:
        """Whether these options say where the face rests."""
        return self.frames is not None or self.neutral_from is not None

    @property
    def frames(self) -> tuple[int, int] | None:
        """First and last frame at rest.

        Raises:
            ValueError: not two numbers, or falling ones.
        """
        if self.neutral_frames is None:
            return None
        match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", self.neutral_frames, re.ASCII)
        if match is None or int(match[1]) > int(match[2]):
            raise ValueError(
                f"--neutral-frames must be the first and the last frame, as 0:24, got {quote(self.neutral_frames)}"
            )
        return int(match[1]), int(match[2])

    def source(self, reading: ReadingOptions, rig: FaceRig) -> NeutralSource | None:
        """Where the neutral face is; None where nothing says so.

        Args:
            reading: how recordings are read.
            rig: the face whose shapes they drive.

        Raises:
            ImportError, OSError, ValueError: as :meth:`ReadingOptions.read` of the recording at rest.
        """
        if not self.given:
            return None
        from biomechau.corpus.calibration import NeutralSource
        from biomechau.corpus.recordings import find_recordings

        if self.neutral_from is None:
            return NeutralSource(frames=self.frames)
        (recording,) = find_recordings([self.neutral_from])
        return NeutralSource(None, (reading.applying_to(recording).read(recording.path, rig),), self.frames)
