from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.wav import Samples, WavStreamReader, WavStreamWriter
from assistant.errors import AudioError

Int16 = npt.NDArray[np.int16]
PCM = (np.arange(3_000) * 7 % 20_001 - 10_000).astype(np.int16)


class Trickle(io.RawIOBase):
    """A raw stream that gives its bytes in pieces of the given sizes, over and over."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content = io.BytesIO(content)
        self._sizes = sizes
        self._turn = 0

    def read(self, size: int = -1, /) -> bytes:
        self._turn += 1
        return self._content.read(min(size, self._sizes[self._turn % len(self._sizes)]))


def header(
    sound_bytes: int, riff_bytes: int = 0, bits: int = 16, channels: int = 1, rate_hz: int = 16_000
) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * block, block, bits)
    head = struct.pack("<4sI4s4sI", b"RIFF", riff_bytes, b"WAVE", b"fmt ", len(form)) + form
    return head + struct.pack("<4sI", b"data", sound_bytes)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def all_of(reader: WavStreamReader, max_frames: int = 500) -> Samples:
    pieces = []
    while len(piece := reader.read(max_frames)):
        assert len(piece) <= max_frames
        pieces.append(piece)
    assert not len(reader.read(max_frames)), "after the end comes nothing"
    if not pieces:
        return reader.read(1)
    joined: npt.NDArray[Any] = np.concatenate(pieces)
    return joined


@pytest.mark.parametrize("riff_bytes", [0, 36, 0xFFFFFFFF, 36 + 6_000, 12_345])
@pytest.mark.parametrize("sound_bytes", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 6_000, 90_000, 2_000, 1_999])
def test_no_length_in_the_header_costs_sound(riff_bytes: int, sound_bytes: int) -> None:
    reader = WavStreamReader(io.BytesIO(header(sound_bytes, riff_bytes) + PCM.tobytes()))
    assert (reader.rate_hz, reader.channels) == (16_000, 1)
    assert np.array_equal(all_of(reader)[:, 0], PCM)


def test_chunks_that_are_no_sound_are_passed_over() -> None:
    head = header(len(PCM) * 2)
    stream = (
        head[:12]
        + chunk(b"LIST", b"INFOodd")
        + head[12:36]
        + chunk(b"fact", b"1234")
        + chunk(b"what", b"?" * 70_001)
    )
    stream += head[36:] + PCM.tobytes() + chunk(b"LIST", b"not sound") + chunk(b"id3 ", b"nor this")
    assert np.array_equal(all_of(WavStreamReader(io.BytesIO(stream)))[:, 0], PCM)


def test_a_second_stream_of_the_same_format_goes_on_and_another_format_is_refused() -> None:
    one = header(len(PCM) * 2) + PCM.tobytes()
    assert np.array_equal(all_of(WavStreamReader(io.BytesIO(one + one)))[:, 0], np.concatenate([PCM, PCM]))

    reader = WavStreamReader(io.BytesIO(one + header(100, channels=2) + bytes(100)))
    with pytest.raises(AudioError, match="changes its format"):
        all_of(reader)


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_what_libsndfile_writes(container: str, subtype: str, channels: int) -> None:
    wave = np.random.default_rng(1).uniform(-0.9, 0.9, (1_000, channels)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, wave, 44_100, subtype=subtype, format=container)
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)

    reader = WavStreamReader(Trickle(file.getvalue(), [1, 5, 700]))

    heard = all_of(reader)
    assert (reader.rate_hz, reader.channels) == (44_100, channels)
    assert heard.dtype == (np.int16 if subtype == "PCM_16" else np.float32)
    scale = 32_768 if subtype == "PCM_16" else 1
    assert np.abs(heard / scale - expected).max() < 1e-6


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 99), min_size=1, max_size=5),
    max_frames=st.integers(1, 300),
    bits=st.sampled_from([8, 16, 24, 32]),
    channels=st.integers(1, 3),
    lost_bytes=st.integers(0, 8),
)
def test_short_reads_and_a_cut_end_lose_no_whole_frame(
    sizes: list[int], max_frames: int, bits: int, channels: int, lost_bytes: int
) -> None:
    body = bytes(range(1, 97)) * 5
    block = channels * bits // 8
    body = body[: len(body) // block * block]
    stream = header(0, bits=bits, channels=channels) + body
    stream = stream[: len(stream) - lost_bytes]

    heard = all_of(WavStreamReader(Trickle(stream, sizes)), max_frames)

    whole = WavStreamReader(io.BytesIO(header(0, bits=bits, channels=channels) + body)).read(10_000)
    assert np.array_equal(heard, whole[: (len(body) - lost_bytes) // block])


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"", "is empty"),
        (b"R", "ended within its WAV header"),
        (b"RIFF\0\0\0\0WA", "ended within its WAV header|not WAV"),
        (header(0)[:30], "ended within its WAV header"),
        (header(0)[:40], "ended within its WAV header"),
        (b"OggS" + bytes(100), "not WAV"),
        (b"RIFF\0\0\0\0AVI " + bytes(100), "not WAV"),
        (header(0)[:12] + header(0)[36:] + bytes(100), "no format"),
        (header(0, bits=12) + bytes(100), "12 bits"),
        (header(0, channels=0) + bytes(100), "damaged"),
        (header(0, rate_hz=0) + bytes(100), "damaged"),
        (header(0)[:20] + b"\x06\0" + header(0)[22:] + bytes(100), "encoding 6"),
    ],
)
def test_what_is_no_wav_stream_is_said_in_one_sentence(stream: bytes, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        WavStreamReader(Trickle(stream, [3]))
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=120))
def test_noise_for_a_header_is_an_error_or_sound_but_no_crash(content: bytes) -> None:
    for stream in (content, header(0)[:16] + content, header(0) + content):
        try:
            heard = all_of(WavStreamReader(io.BytesIO(stream)))
        except AudioError:
            continue
        assert heard.shape[1] >= 1


def test_samples_come_through_a_fifo_as_they_are_written(
    fifo: Path, run: Callable[..., threading.Thread]
) -> None:
    read = [threading.Event() for _ in range(3)]

    def write() -> None:
        with open(fifo, "wb", buffering=0) as out:
            for byte in header(0xFFFFFFFF, 0xFFFFFFFF):
                out.write(bytes([byte]))
            # nothing more is written until what came before has been read
            for number, event in enumerate(read):
                out.write(PCM[number * 100 : number * 100 + 100].tobytes())
                assert event.wait(5)

    run(write)
    with open(fifo, "rb", buffering=0) as raw:
        reader = WavStreamReader(raw)
        for number, event in enumerate(read):
            assert np.array_equal(reader.read(5_000)[:, 0], PCM[number * 100 : number * 100 + 100])
            event.set()
        assert len(reader.read(5_000)) == 0


def pieces(pcm: Int16) -> Iterator[Int16]:
    yield from np.array_split(pcm, 7)


def test_a_file_gets_its_lengths_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    writer = WavStreamWriter(io.FileIO(path, "wb"), 22_050)
    assert path.stat().st_size == 44, "the header is there at once"
    for piece in pieces(PCM):
        writer.write(piece)
    # a reader that comes before the end hears all there is
    assert np.array_equal(all_of(WavStreamReader(io.BytesIO(path.read_bytes())))[:, 0], PCM)
    assert struct.unpack_from("<I", path.read_bytes(), 40)[0] == 0xFFFFFFFF

    writer.close()

    sound, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 22_050
    assert np.array_equal(sound, PCM)
    content = path.read_bytes()
    assert struct.unpack_from("<I", content, 4)[0] == len(content) - 8
    assert struct.unpack_from("<I", content, 40)[0] == len(content) - 44


def test_a_pipe_keeps_its_unknown_lengths(run: Callable[..., threading.Thread]) -> None:
    ours, theirs = os.pipe()

    def write() -> None:
        writer = WavStreamWriter(io.FileIO(theirs, "wb"), 16_000)
        for piece in pieces(PCM):
            writer.write(piece)
        writer.close()

    run(write)
    with open(ours, "rb", buffering=0) as raw:
        reader = WavStreamReader(raw)
        assert np.array_equal(all_of(reader)[:, 0], PCM)


def test_a_stream_behind_other_content_of_a_file_patches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before")
    writer = WavStreamWriter(io.FileIO(path, "ab"), 16_000)
    writer.write(PCM)
    writer.close()
    assert path.read_bytes()[:10] == b"beforeRIFF"


def test_a_full_disk_is_an_oserror() -> None:
    with io.FileIO("/dev/full", "wb") as raw, pytest.raises(OSError, match="No space"):
        WavStreamWriter(raw, 16_000)
