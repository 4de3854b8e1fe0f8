"""Envelopes of raw EMG, by NeuroKit2 (extra ``emg``)."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from biomechau.corpus.signals import Signals, known_pieces

MISSING_NEUROKIT = 'raw EMG (--emg) needs neurokit2: pip install "biomechau[emg]"'
# Band of the facial surface EMG, above movements of the electrodes [Hz] (Fridlund & Cacioppo 1986; van Boxtel 2001).
_LOWEST, _HIGHEST = 20.0, 500.0
# Cut-off frequency of the envelope [Hz]: faces do not move faster.
_ENVELOPE = 6.0
_LOWEST_RATE = 200.0  # [1/s]; slower signals are envelopes, or have lost most of the EMG
# Changes of sign per second: more than those of an envelope about its mean, fewer than those of 20 to 500 Hz.
_RAW_CROSSINGS = 2.5 * _ENVELOPE
# Sections between gaps that are shorter than this have no envelope [s].
_SHORTEST = 0.5


def look_raw(signals: Signals) -> tuple[str, ...]:
    """Names of the signals of unknown unit that oscillate about zero as raw EMG does, and no envelope."""
    times = signals.timestamp
    if signals.scale is not None or times is None or len(times) < 2:
        return ()
    crossings = ((signals.values[1:] < 0) != (signals.values[:-1] < 0)).sum(0) / float(times[-1] - times[0])
    return tuple(name for name, rate in zip(signals.names, crossings, strict=True) if rate > _RAW_CROSSINGS)


def emg_envelopes(raw: Signals) -> Signals:
    """Rectified and smoothed EMG: 20 to 500 Hz (at most 0.45 of the rate), absolute value, low-pass at 6 Hz.

    The Butterworth filters of order 4 and 2 run in both directions, so they do not delay the signal. Sections between
    gaps are filtered separately; sections shorter than half a second become gaps.

    Args:
        raw: EMG signals in any unit, with times at an even rate.

    Raises:
        ValueError: there are no times, or fewer than 200 samples per second.
        ImportError: NeuroKit2 is not installed.
    """
    try:
        neurokit2: Any = import_module("neurokit2")
    except ImportError as error:
        raise ImportError(MISSING_NEUROKIT) from error
    if raw.timestamp is None or len(raw.timestamp) < 2:
        raise ValueError(f"{raw.source}: raw EMG needs a column of times, or --recorded-fps")
    step = float(np.median(np.diff(raw.timestamp)))
    rate = 1 / step
    if rate < _LOWEST_RATE:
        raise ValueError(
            f"{raw.source}: {rate:.4g} samples per second are too few for raw EMG, expected at least {_LOWEST_RATE:g}; "
            "if these are envelopes, leave --emg out"
        )
    band = {"lowcut": _LOWEST, "highcut": min(_HIGHEST, 0.45 * rate), "order": 4}
    values = np.full_like(raw.values, np.nan)
    for column in range(len(raw.names)):
        for piece in known_pieces(raw.timestamp, raw.values[:, column], step):
            if len(piece) < _SHORTEST * rate:
                continue
            signal = raw.values[piece, column]
            active = neurokit2.signal_filter(signal, sampling_rate=rate, method="butterworth", **band)
            smooth = neurokit2.signal_filter(
                np.abs(active), sampling_rate=rate, method="butterworth", highcut=_ENVELOPE, order=2
            )
            values[piece, column] = np.maximum(smooth, 0.0)
    if np.isnan(values).all():
        raise ValueError(f"{raw.source}: no section without gaps lasts {_SHORTEST:g} s, so there is no envelope")
    return replace(raw, values=values, source=f"EMG envelopes of {raw.source}")
