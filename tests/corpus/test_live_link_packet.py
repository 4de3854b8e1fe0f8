"""Packets of Live Link Face: decoded to the last bit, and refused unless all of them is right."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from corpus.live_link_packets import packet

from biomechau.corpus.live_link import CHANNELS, LARGEST_PACKET, LiveLinkPacket, OtherVersion

VALUES = np.linspace(0.01, 0.99, 61, dtype=np.float32)


def test_a_packet_is_read_back() -> None:
    data = packet(VALUES, frame=1234, fraction=0.5, rate=(60000, 1001), device="Gerät", subject="Ada L.")
    found = LiveLinkPacket.decode(data)
    assert found[:3] == ("Gerät", "Ada L.", 1234)
    assert found.fps == 60000 / 1001
    assert found.time == 1234.5 * 1001 / 60000
    assert found.values is not None
    assert found.pose is not None
    np.testing.assert_array_equal(np.concatenate([found.values, found.pose]), VALUES)
    assert len(CHANNELS) == 52
    assert CHANNELS[15:17] == ("jawLeft", "jawRight")  # the order of Unreal's own enumeration


def test_the_length_is_that_of_a_real_packet() -> None:
    """312 bytes, with an identifier of 36 letters and the subject iPhone."""
    assert len(packet(VALUES)) == 312
    assert len(packet(VALUES, device="d" * 256, subject="s" * 256)) == LARGEST_PACKET


@pytest.mark.parametrize("data", [packet(None), packet([]), packet(np.zeros(61)), packet([*[0.0] * 52, *[0.3] * 9])])
def test_a_frame_without_a_face_has_no_values(data: bytes) -> None:
    assert LiveLinkPacket.decode(data).values is None


def changed(index: int, value: float) -> bytes:
    values = VALUES.copy()
    values[index] = value
    return packet(values)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\6", "1 bytes, which ends before the name of its device"),
        (b"\6\0\0\0\1a\0\0", "ends before the name of its subject"),
        (b"\6\0\0\0\2a", "device has 2 bytes in a packet of 6"),
        (b"\6\xff\xff\xff\xffa", "device has -1 bytes"),
        (b"\6\x7f\xff\xff\xffa", "device has 2147483647 bytes"),
        (b"\6" + struct.pack(">i", 300) + b"a" * 300, "device has 300 bytes"),
        (b"\6\0\0\0\1\xff" + packet(VALUES)[41:], "not UTF-8"),
        (packet(VALUES)[:-1], "260 bytes after its names, expected 261"),
        (packet(VALUES) + b"\0", "262 bytes"),
        (packet(VALUES[:60]), "257 bytes"),
        (packet(VALUES)[:67] + b"\x3c" + packet(VALUES)[68:], "60 values in 245 bytes, expected 61"),
        (packet(None) + b"\1", "1 values in 1 bytes"),
        (packet(VALUES, frame=-1), "frame -1"),
        (packet(VALUES, fraction=float("nan")), "frame 5373215 and nan"),
        (packet(VALUES, fraction=1.5), "and 1.5"),
        (packet(VALUES, rate=(0, 1)), "0/1 frames per second"),
        (packet(VALUES, rate=(60, 0)), "60/0 frames per second"),
        (packet(VALUES, rate=(60, -1)), "60/-1 frames per second"),
        (packet(VALUES, rate=(2_000_000, 1)), "2000000/1 frames per second"),
        (packet(VALUES, rate=(1, 60)), "1/60 frames per second"),
        (changed(17, float("nan")), "jawOpen is nan, expected a number of at most 10 in size"),
        (changed(0, float("inf")), "eyeBlinkLeft is inf"),
        (changed(51, -11.0), "tongueOut is -11"),
        (changed(60, 1e30), "RightEyeRoll is 1e\\+30"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        LiveLinkPacket.decode(data)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("version", [0, 1, 5, 7, 255])
def test_another_version_is_an_error_of_its_own(version: int) -> None:
    with pytest.raises(OtherVersion, match=f"version {version}, expected 6"):
        LiveLinkPacket.decode(packet(VALUES, version=version))


def test_broken_packets_are_refused_or_right(request: pytest.FixtureRequest) -> None:
    """Bits flipped, bytes cut, added and exchanged: a ValueError, or a packet whose values are all in range."""
    num = max(10_000, request.config.getoption("--fuzz-inputs"))
    chance = random.Random(0)
    whole, refused = packet(VALUES), 0
    for _ in range(num):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data) + 1)
            kind = chance.randrange(4)
            if kind == 0 and place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del data[place:]
            elif kind == 2:
                data[place:place] = chance.randbytes(chance.randint(1, 300))
            else:
                data[place : place + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xc0\0\0", b"\x7f\x80\0\0"])
            if not data:
                break
        try:
            found = LiveLinkPacket.decode(bytes(data))
        except ValueError:
            refused += 1
            continue
        assert 1 <= found.fps <= 1000
        assert found.frame >= 0
        assert found.time >= 0
        if found.values is not None:
            assert found.values.shape == (52,)
            assert np.abs(found.values).max() <= 10
    assert num / 2 < refused < num
