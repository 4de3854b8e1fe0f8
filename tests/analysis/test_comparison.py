"""Results beside references that were made: lag, correlation, gaps, what is not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from biomechau.analysis._agreement import agreement
from biomechau.analysis.comparison import MEASURES, Comparison, compare
from biomechau.corpus.signals import Signals

FPS = 25.0


def activation(time: np.ndarray) -> np.ndarray:
    """Expressions of 1 to 3 s, at any times [s]."""
    found = np.zeros_like(time)
    rng = np.random.default_rng(3)
    for start in np.arange(1.0, 58.0, 4.0):
        length, height = rng.uniform(1, 3), rng.uniform(0.3, 1)
        inside = (time > start) & (time < start + length)
        found[inside] += height * np.sin(np.pi * (time[inside] - start) / length) ** 2
    return found


def signals(values: dict[str, np.ndarray], times: np.ndarray, scale: str | None = None) -> Signals:
    return Signals(tuple(values), np.column_stack(list(values.values())), times, None, scale, "made")


def beside(x: np.ndarray, times: np.ndarray, y: np.ndarray, own: np.ndarray, **options: Any) -> Comparison:
    return compare([signals({"a": x}, times, "force")], [signals({"a": y}, own)], **options)


def value(comparison: Comparison, name: str, row: int = 0) -> float:
    found = comparison.signals[row].measure(name).value
    assert found is not None
    return found


@pytest.fixture
def times() -> np.ndarray:
    return np.arange(1500) / FPS


@pytest.mark.parametrize("lead", [0.1, 0.2, 0.3])
@pytest.mark.parametrize("rate", [25.0, 60.0, 1000.0])
def test_a_reference_that_leads_is_found_within_a_frame(times: np.ndarray, lead: float, rate: float) -> None:
    """Envelopes of another rate, with noise and drift."""
    own = np.arange(0, 60, 1 / rate)
    rng = np.random.default_rng(0)
    y = 3e-6 * (activation(own + lead) + 0.1 * own / 60 + 0.05 * rng.standard_normal(len(own)))
    found = beside(activation(times), times, y, own)
    assert value(found, "lag") == pytest.approx(lead, abs=1 / FPS)
    assert value(found, "r_best") > 0.95
    assert value(found, "r_best") > value(found, "r")
    measure = found.signals[0].measure("lag")
    assert measure.low is not None
    assert measure.high is not None
    assert measure.low <= lead + 1 / FPS
    assert measure.high >= lead - 1 / FPS


def test_r_is_as_made(times: np.ndarray) -> None:
    x = activation(times)
    noise = np.random.default_rng(1).standard_normal(len(times)) * x.std()
    y = 2 * (x + noise) - 1
    found = beside(x, times, y, times)
    assert value(found, "r") == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert value(found, "r") == pytest.approx(1 / np.sqrt(2), abs=0.03)
    gain, offset = np.polyfit(x, y, 1)
    assert value(found, "gain") == pytest.approx(gain)
    assert value(found, "offset") == pytest.approx(offset)
    assert value(found, "r2") == pytest.approx(value(found, "r") ** 2)
    low, high = found.signals[0].measure("r").low, found.signals[0].measure("r").high
    assert low is not None
    assert high is not None
    assert 0.5 < low < 0.7 < high < 0.85
    assert found.signals[0].measure("icc").value is None, "the unit of the reference is not known"


def test_a_signal_beside_itself(times: np.ndarray) -> None:
    own = [signals({"a": activation(times), "b": 1e6 + 100 * activation(times)}, times, "force")]
    found = compare(own, own)
    for row in range(2):
        assert value(found, "r", row) == pytest.approx(1)
        assert value(found, "r_best", row) == pytest.approx(1)
        assert value(found, "icc", row) == pytest.approx(1)
        assert value(found, "lag", row) == 0
        for name in ("bias", "lower_limit", "upper_limit"):
            assert value(found, name, row) == pytest.approx(0, abs=1e-4)


def test_equal_lags_give_the_one_nearest_to_zero(times: np.ndarray) -> None:
    own = [signals({"a": np.exp(-times)}, times, "force")]  # moved in time it is the same but for a factor
    assert value(compare(own, own), "lag") == 0


def test_icc_and_bland_altman_against_their_textbook_formulas(times: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    x = activation(times)
    y = x + 0.2 + 0.1 * rng.standard_normal(len(x))
    found = compare([signals({"a": x}, times, "force")], [signals({"a": y}, times, "force")])
    both = np.stack([x, y], 1)
    n, k = both.shape
    rows, columns = both.mean(1, keepdims=True), both.mean(0, keepdims=True)
    between = k * ((rows - both.mean()) ** 2).sum() / (n - 1)
    error = ((both - rows - columns + both.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    assert value(found, "icc") == pytest.approx((between - error) / (between + (k - 1) * error))
    difference = x - y
    assert value(found, "bias") == pytest.approx(difference.mean())
    assert value(found, "upper_limit") == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1))
    assert value(found, "lower_limit") == pytest.approx(difference.mean() - 1.96 * difference.std(ddof=1))


@pytest.mark.parametrize(
    ("own", "other", "agree"),
    [
        ("probability", "probability", True),
        ("probability", "intensity", False),
        ("presence", "presence", False),
        ("force, a", "force, b", False),
    ],
)
def test_agreement_needs_one_unit(times: np.ndarray, own: str, other: str, agree: bool) -> None:
    x = activation(times)
    found = compare([signals({"a": x}, times, own)], [signals({"a": x}, times, other)])
    assert (found.signals[0].measure("icc").value is not None) == agree
    assert (found.signals[0].measure("bias").value is not None) == agree


def test_gaps_are_not_bridged(times: np.ndarray) -> None:
    own = np.arange(0, 60, 1 / 100)
    y = activation(own + 0.2)
    gone = (own > 10) & (own < 20)
    gap, x = np.where(gone, np.nan, y), activation(times)
    x[50:75] = np.nan
    found = beside(x, times, gap, own)
    (signal,) = found.signals
    inside = (times > 10.02) & (times < 19.98)
    assert np.isnan(signal.reference_values[inside]).all()
    assert not np.isnan(signal.reference_values[~inside & (times < 59)]).any()
    assert signal.frames == int((~np.isnan(x) & ~np.isnan(signal.reference_values)).sum())
    assert value(found, "lag") == pytest.approx(0.2, abs=1 / FPS)
    # Rows that are left out are a gap as well as empty cells.
    rows = beside(x, times, y[~gone], own[~gone])
    np.testing.assert_array_equal(rows.signals[0].reference_values, signal.reference_values)
    # What is beyond the gap does not leak into it: the values around it are those of the reference without it.
    whole = beside(x, times, y, own).signals[0].reference_values
    near = ~np.isnan(signal.reference_values)
    assert np.abs(whole - signal.reference_values)[near].max() < 0.02


@pytest.mark.parametrize("own", ["probability", "force"])
def test_roc_area_counts_pairs_of_frames(times: np.ndarray, own: str) -> None:
    rng = np.random.default_rng(3)
    x = np.round(activation(times) + 0.3 * rng.standard_normal(len(times)), 1)  # with ties
    on = (activation(times) > 0.3).astype(float)
    x[40:80], on[400:450] = np.nan, np.nan
    found = compare([signals({"a": x}, times, own)], [signals({"a": on}, times, "presence")])
    known = ~np.isnan(x) & ~np.isnan(on)
    present, absent = x[known & (on == 1)][:, None], x[known & (on == 0)]
    measure = found.signals[0].measure("roc_area")
    assert measure.value is not None
    assert measure.value == pytest.approx((present > absent).mean() + (present == absent).mean() / 2)
    assert measure.low is not None
    assert measure.high is not None
    assert 0.5 < measure.low < measure.value < measure.high < 1


@pytest.mark.parametrize(("x", "on", "area"), [("same", "some", 0.5), ("moves", "none", None), ("moves", "all", None)])
def test_roc_area_of_what_does_not_change(times: np.ndarray, x: str, on: str, area: float | None) -> None:
    values = np.full(len(times), 0.7) if x == "same" else activation(times)
    present = {"some": activation(times) > 0.3, "none": times < 0, "all": times >= 0}[on].astype(float)
    found = compare([signals({"a": values}, times)], [signals({"a": present}, times, "presence")])
    assert found.signals[0].measure("roc_area").value == area


def test_presences_are_not_interpolated(times: np.ndarray) -> None:
    own = np.arange(0, 60, 1 / 30)
    on = (activation(own) > 0.3).astype(float)
    found = compare([signals({"a": activation(times)}, times)], [signals({"a": on}, own, "presence")])
    assert set(np.unique(found.signals[0].reference_values)) == {0.0, 1.0}


def test_an_offset_moves_the_reference(times: np.ndarray) -> None:
    own = times + 100
    with pytest.raises(ValueError, match=r"at most 0 frames.*0\.00 to 59\.96 s.*100\.00 to 159\.96 s.*--offset"):
        beside(activation(times), times, activation(times), own)
    found = beside(activation(times), times, activation(times), own, offset=-100)
    assert value(found, "lag") == 0
    assert value(found, "r") == pytest.approx(1)


def test_frame_numbers_are_those_of_the_recording(times: np.ndarray) -> None:
    """Labels of a part of a video of 50 frames a second."""
    frame = np.arange(len(times)) * 2 + 1
    result = Signals(("AU12",), activation(times)[:, None], times, frame, "probability", "own")
    coded = np.arange(1001, 2001)
    labels = (activation((coded - 1) / 50) > 0.3).astype(float)
    found = compare([result], [Signals(("AU12",), labels[:, None], None, coded, "presence", "labels")])
    assert found.signals[0].frames == 500
    expected = (activation(times) > 0.3).astype(float)
    np.testing.assert_array_equal(found.signals[0].reference_values[500:1000], expected[500:1000])


def test_frame_numbers_of_a_recording_with_a_gap(times: np.ndarray) -> None:
    """The numbers of the frames go on where 8 s are lost, and end before the labels do."""
    frame = np.arange(len(times))
    lost = (frame >= 500) & (frame < 700)
    frame = np.where(lost, -1, np.where(frame < 500, frame, frame - 200))
    values = np.where(lost, np.nan, activation(times))
    result = Signals(("AU12",), values[:, None], times, frame, "probability", "own")
    labels = (activation(times[~lost]) > 0.3).astype(float)
    found = compare([result], [Signals(("AU12",), labels[:, None], None, np.arange(1300), "presence", "labels")])
    assert found.signals[0].frames == 1300
    assert value(found, "roc_area") == 1
    np.testing.assert_array_equal(found.signals[0].reference_values[~lost], labels)


@pytest.mark.parametrize("constant", ["result", "reference", "both"])
def test_what_does_not_change_has_no_r(times: np.ndarray, constant: str) -> None:
    flat = np.full(len(times), 0.1)
    x = activation(times) if constant == "reference" else flat
    y = activation(times) if constant == "result" else flat
    found = compare([signals({"a": x}, times, "force")], [signals({"a": y}, times, "force")])
    (signal,) = found.signals
    for name in ("lag", "r", "r_best", "r2"):
        assert signal.measure(name).value is None
    assert (signal.measure("icc").value is None) == (constant == "both")
    assert value(found, "bias") == pytest.approx(x.mean() - y.mean())
    assert "constant" in signal.note
    entry = found.summary()["signals"][0]
    assert set(MEASURES) <= entry.keys()
    assert entry["r"] == {"value": None, "low": None, "high": None}


def test_a_lag_at_the_limit_is_doubted(times: np.ndarray) -> None:
    found = beside(activation(times), times, activation(times + 1), times)
    assert value(found, "lag") == pytest.approx(0.48)
    assert "still rises" in found.signals[0].note
    assert value(beside(activation(times), times, activation(times + 1), times, max_lag=2), "lag") == pytest.approx(1)


def test_short_recordings_have_no_interval() -> None:
    times = np.arange(150) / FPS
    found = beside(activation(times), times, activation(times), times)
    assert value(found, "r") == pytest.approx(1)
    assert found.signals[0].measure("r").low is None


def test_names_agree_in_any_spelling(times: np.ndarray) -> None:
    x = activation(times)
    names = ("zygomaticus_major_left", "zygomaticus_major_right", "corrugator_supercilii_left", "AU06", "digastric")
    spelled = ("EMG Zygomaticus major L [uV]", "RightZygomaticusMajor", "corrugator", "au6", "Digastric")
    found = compare([signals(dict.fromkeys(names, x), times)], [signals(dict.fromkeys(spelled, x), times)])
    assert [(one.result, one.reference) for one in found.signals] == [
        ("zygomaticus_major_left", "EMG Zygomaticus major L [uV]"),
        ("zygomaticus_major_right", "RightZygomaticusMajor"),
        ("AU06", "au6"),
        ("digastric", "Digastric"),
    ]
    assert found.only_result == ("corrugator_supercilii_left",)
    assert found.only_reference == ("corrugator",)


def test_names_without_their_last_words_agree_where_they_tell(times: np.ndarray) -> None:
    x = activation(times)
    names = ("corrugator_supercilii_left", "frontalis_medialis_left", "frontalis_lateralis_left", "digastric")
    spelled = ("EMG Corrugator L [uV]", "Frontalis left", "Corrugator R", "EMG")
    found = compare([signals(dict.fromkeys(names, x), times)], [signals(dict.fromkeys(spelled, x), times)])
    assert [(one.result, one.reference) for one in found.signals] == [
        ("corrugator_supercilii_left", "EMG Corrugator L [uV]"),
    ]
    assert found.only_reference == ("Frontalis left", "Corrugator R", "EMG")


def test_names_that_do_not_tell(times: np.ndarray) -> None:
    own, other = [signals({"a": activation(times)}, times)], [signals({"b": activation(times)}, times)]
    with pytest.raises(ValueError, match="no names in common: the result has a, the reference b; .*--pairs"):
        compare(own, other)
    assert value(compare(own, other, [("a", "b")]), "r") == pytest.approx(1)
    with pytest.raises(ValueError, match="the reference has no c; it has b"):
        compare(own, other, [("a", "c")])
    twice = [signals({"A": activation(times), "a": activation(times)}, times)]
    with pytest.raises(ValueError, match="A, a of the reference agree by name; choose one with --pairs"):
        compare(own, twice)


def test_intervals_cover_the_correlation_of_the_process() -> None:
    """Independent blocks: the interval of a known r holds it about as often as it says."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(100):
        common, own, other = rng.standard_normal((3, 60)).repeat(25, axis=1)
        found = agreement(common + own, common + other, FPS, 0, 50, False).measures["r"]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.5 <= found.high
    assert 84 <= held <= 99
