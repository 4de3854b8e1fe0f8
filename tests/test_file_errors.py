"""Quotations in errors, and the file that they name."""

from __future__ import annotations

import pytest

from biomechau.corpus.face_sequence import UnknownFrameRate
from biomechau.file_errors import naming, quote, reason, shorten


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, "9" * 5000, 10**5000, -(10**5000), [10**5000], list(range(10**4)), b"\xff" * 1000, "\x1b" * 1000],
    ids=["letters", "digits", "number", "negative", "nested", "list", "bytes", "escapes"],
)
def test_a_quotation_is_short_and_printable(value: object) -> None:
    assert len(quote(value)) <= 80
    assert quote(value).isprintable()


def test_a_short_value_is_quoted_as_it_is() -> None:
    assert [quote(value) for value in ("a'b", 3, None, [1.5])] == [repr(value) for value in ("a'b", 3, None, [1.5])]
    assert shorten("a" * 10 + "b" * 10, 20) == "a" * 10 + "b" * 10
    assert shorten("a" * 11 + "b" * 10, 20) == "a" * 10 + " ... " + "b" * 5


def test_what_a_library_says_is_one_short_line() -> None:
    assert reason(ValueError("one\ntwo")) == "one two"
    assert reason(ValueError()) == "ValueError"
    assert len(reason(ValueError("x" * 1000))) <= 160


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("too long"), ValueError, "clip.csv: too long"),
        (ValueError("clip.csv:3: too long"), ValueError, "clip.csv:3: too long"),
        (TypeError("of text"), ValueError, "clip.csv: of text"),
        (OverflowError("too large"), ValueError, "clip.csv: too large"),
        (KeyError("r"), ValueError, "clip.csv: entry 'r' is missing"),
        (UnknownFrameRate("no rate"), UnknownFrameRate, "clip.csv: no rate"),
        (MemoryError(), MemoryError, "clip.csv: there is not enough memory to read it"),
        (RuntimeError("can't allocate memory: 9"), MemoryError, "clip.csv: there is not enough memory to read it"),
        (RuntimeError("other"), RuntimeError, "other"),
    ],
)
def test_an_error_names_the_file(error: Exception, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught, naming("clip.csv"):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == message
