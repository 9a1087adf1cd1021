from __future__ import annotations

import errno
import io
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.audio.files import blocks, duration_s, write_wav
from assistant.audio.pipes import not_written
from assistant.errors import AudioError

Int16 = npt.NDArray[np.int16]


def tone(rate_hz: int, channels: int, seconds: float = 1.3) -> npt.NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * 300 * np.arange(int(rate_hz * seconds)) / rate_hz)
    return np.repeat(wave.astype(np.float32)[:, None], channels, axis=1)


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"),
    [
        ("a.wav", 8_000, 1),
        ("a.wav", 44_100, 2),
        ("a.wav", 96_000, 8),
        ("a.flac", 16_000, 2),
        ("a.flac", 48_000, 6),
        ("a.mp3", 44_100, 2),
        ("a.mp3", 16_000, 1),
        ("a.ogg", 48_000, 2),
    ],
)
def test_any_file_is_16_khz_mono(tmp_path: Path, name: str, rate_hz: int, channels: int) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(rate_hz, channels), rate_hz)

    parts = list(blocks(path))

    assert all(part.dtype == np.int16 and part.ndim == 1 and len(part) <= 8_700 for part in parts)
    heard = np.concatenate(parts)
    lossy = name.endswith(("mp3", "ogg"))
    assert abs(len(heard) - 16_000 * 1.3) <= (2_000 if name.endswith("mp3") else 1)
    assert duration_s(path) == pytest.approx(1.3, abs=0.13 if lossy else 0.001)
    if not lossy:
        expected = tone(16_000, 1)[:, 0] * 32_768
        middle = slice(1_000, 19_000)
        assert np.abs(heard[middle] - expected[middle]).max() < 60
    level = np.sqrt(np.mean(np.square(heard[2_000:18_000] / 32_768.0)))
    assert level == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_16_khz_mono_comes_through_bit_for_bit(tmp_path: Path, noise: Callable[[int], Int16]) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(30_001), 16_000, subtype="PCM_16")
    assert np.array_equal(np.concatenate(list(blocks(path))), noise(30_001))


def test_mp3_in_blocks_is_mp3_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(16_000, 1, 3.0), 16_000)
    whole, _ = soundfile.read(path, dtype="float32")
    expected = np.clip(np.rint(whole * 32_768), -32_768, 32_767)
    heard = np.concatenate(list(blocks(path)))
    assert len(heard) == len(expected)
    # the decoder's floats differ in their last bit with where they lie in memory
    assert np.abs(heard - expected).max() <= 1


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_a_file_that_was_cut_short_gives_what_there_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    soundfile.write(path, tone(16_000, 1, 4.0), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    heard = np.concatenate(list(blocks(path)))

    assert 16_000 < len(heard) < 40_000
    assert np.abs(heard.astype(int)).max() > 15_000


def test_a_wav_file_whose_recorder_was_killed_gives_its_sound(
    tmp_path: Path, noise: Callable[[int], Int16]
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(20_000), 16_000)
    content = bytearray(path.read_bytes())
    for length in (bytes(4), b"\xff\xff\xff\xff"):
        content[40:44] = length
        path.write_bytes(content)
        assert np.array_equal(np.concatenate(list(blocks(path))), noise(20_000))
        assert duration_s(path) == 1.25


def test_a_flac_file_that_does_not_know_its_length_is_counted(
    tmp_path: Path, noise: Callable[[int], Int16]
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(20_000), 16_000)
    content = bytearray(path.read_bytes())
    # the last 36 bits of the 8 bytes behind the sizes of blocks and frames
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert duration_s(path) == 1.25
    assert np.array_equal(np.concatenate(list(blocks(path))), noise(20_000))


@pytest.mark.parametrize(
    "use", [lambda path: list(blocks(path)), blocks, duration_s], ids=["all", "first", "duration"]
)
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.wav", None, "There is no sound file"),
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"This is no sound at all.\n" * 50, "is not sound, or is damaged"),
        ("zeros.mp3", bytes(5_000), "is not sound, or is damaged"),
        ("header.wav", b"RIFF\x24\0\0\0WAVEfmt ", "is not sound, or is damaged"),
        ("x" * 300, None, "cannot be read: File name too long"),
    ],
)
def test_what_is_no_sound_is_said_in_one_sentence(
    tmp_path: Path, use: Callable[[Path], object], name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=reason) as caught:
        use(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.empty(0, np.int16), 16_000)
    with pytest.raises(AudioError, match="holds no sound"):
        blocks(path)
    assert duration_s(path) == 0


def test_folders_fifos_and_forbidden_files(tmp_path: Path, fifo: Path) -> None:
    with pytest.raises(AudioError, match="is a folder"):
        blocks(tmp_path)
    with pytest.raises(AudioError, match="is not a file"):
        blocks(fifo)
    path = tmp_path / "secret.wav"
    soundfile.write(path, np.ones(100, np.int16), 16_000)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read every file")
    with pytest.raises(AudioError, match="Permission denied"):
        blocks(path)


def test_a_file_of_many_hours_is_never_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.ones(8, np.int16), 16_000)
    hours = 8
    sound_bytes = hours * 3_600 * 16_000 * 2
    content = bytearray(path.read_bytes()[:44])
    content[4:8] = (sound_bytes + 36).to_bytes(4, "little")
    content[40:44] = sound_bytes.to_bytes(4, "little")
    path.write_bytes(content)
    os.truncate(path, 44 + sound_bytes)
    script = (
        "import resource, sys, itertools; from pathlib import Path\n"
        "from assistant.audio.files import blocks\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = sum(len(b) for b in itertools.islice(blocks(Path(sys.argv[1])), 2000))\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", script, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    samples, grown_kib = map(int, ran.stdout.split())
    assert samples == 2000 * 8_000
    assert grown_kib < 20_000
    assert duration_s(path) == hours * 3_600


def test_writing_replaces_a_file_in_one_go(tmp_path: Path, noise: Callable[[int], Int16]) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"before")
    link = tmp_path / "link.wav"
    link.symlink_to(path)

    write_wav(link, noise(500), 22_050)

    sound, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 22_050
    assert np.array_equal(sound, noise(500))
    assert link.is_symlink()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link.wav", "out.wav"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, noise: Callable[[int], Int16]) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, noise(100), 16_000)
    before = path.read_bytes()
    # a limit on the size of files fails as a full disk does: in the middle of a write
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        with pytest.raises(AudioError, match=r"out\.wav cannot be written: File too large; choose"):
            write_wav(path, noise(50_000), 16_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


def test_a_folder_that_must_not_be_looked_into_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)
    sentence = str(not_written(f"{tmp_path}/no/out.wav", PermissionError(errno.EACCES, "Permission denied")))
    assert sentence.endswith("cannot be written: Permission denied; choose another place.")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no/such/out.wav", "the folder .*/no/such does not exist; create it or choose another place."),
        (".", "Is a directory; choose another place."),
        ("/dev/full", "No space left on device; make room or choose another place."),
    ],
)
def test_a_place_that_cannot_be_written(tmp_path: Path, target: str, reason: str) -> None:
    with pytest.raises(AudioError, match=f"cannot be written: {reason}"):
        write_wav(tmp_path / target, np.ones(100, np.int16), 16_000)


WRITE = """
import sys
from pathlib import Path
import numpy as np
from assistant.audio.files import write_wav
from assistant.errors import AudioError
try:
    # more than a pipe takes at once
    write_wav(Path(sys.argv[1]), np.arange(1, 100_001).astype(np.int16), 16_000)
except AudioError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_may_be_a_pipe_or_a_file(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", WRITE, name]
    out = tmp_path / "out.wav"
    with out.open("wb") as file:
        subprocess.run(command, stdout=file, check=True, timeout=30)
    piped = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30).stdout
    assert out.read_bytes()[44:] == piped[44:]
    for sound in (out, io.BytesIO(piped)):
        samples, rate_hz = soundfile.read(sound, dtype="int16")
        assert rate_hz == 16_000
        assert np.array_equal(samples, np.arange(1, 100_001).astype(np.int16))
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


def test_a_fifo_is_written_to(fifo: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE, str(fifo)]) as writer:
        samples, _ = soundfile.read(io.BytesIO(fifo.read_bytes()), dtype="int16")
    assert writer.returncode == 0
    assert np.array_equal(samples, np.arange(1, 100_001).astype(np.int16))
    assert [entry.name for entry in tmp_path.iterdir()] == ["fifo"]


def test_standard_output_that_cannot_take_sound_is_said() -> None:
    command = [sys.executable, "-c", WRITE, "-"]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    ran = subprocess.run(closed, stderr=subprocess.PIPE, text=True, timeout=30)
    assert ran.stderr.startswith("Standard output cannot be used: Bad file descriptor; ")
    for_a_terminal, terminal = os.openpty()
    ran = subprocess.run(command, stdout=terminal, stderr=subprocess.PIPE, text=True, timeout=30)
    assert ran.stderr.startswith("Standard output is a terminal, not sound; ")
    os.close(terminal)
    os.close(for_a_terminal)
