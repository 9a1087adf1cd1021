from __future__ import annotations

import io
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from assistant.audio.card import SoundCard
from assistant.audio.card_link import microphone_name, speaker_name
from assistant.audio.files import write_wav
from assistant.audio.microphone import Microphone, open_microphone
from assistant.audio.speaker import Speaker, open_speaker
from assistant.audio.wav import WavStreamReader, WavStreamWriter
from assistant.errors import AudioError

Int16 = npt.NDArray[np.int16]
OpenCard = Callable[..., SoundCard]
Noise = Callable[[int], Int16]
Run = Callable[[Callable[[], object]], threading.Thread]

DEADLINE_S = 5.0
EMPTY = np.empty(0, np.int16)


def recording(folder: Path, pcm: Int16) -> Path:
    path = folder / "microphone.wav"
    write_wav(path, pcm, 16_000)
    return path


def hear(microphone: Microphone, samples: int | None = None) -> Int16:
    """So many samples of the microphone, or all of it."""
    frames = bytearray()
    while samples is None or len(frames) < 2 * samples:
        frame = microphone.read(DEADLINE_S)
        assert frame is not None, "the microphone fell silent"
        if not frame:
            break
        frames += frame
    return np.frombuffer(frames, np.int16)[:samples]


def until(reached: Callable[[], bool]) -> None:
    """Ask again and again; the card's clock goes on in its own threads."""
    pause = threading.Event()
    deadline_s = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline_s, "it never came to that"
        pause.wait(0.001)


def read(path: Path) -> Int16:
    sound, _ = soundfile.read(path, dtype="int16")
    return np.asarray(sound, np.int16)


# ---------------------------------------------------------------- microphone


def test_a_recording_is_heard_bit_for_bit_and_in_real_time(
    tmp_path: Path, open_card: OpenCard, noise: Noise
) -> None:
    pcm = noise(16_000 + 100)
    card = open_card(recording(tmp_path, pcm), speed=4.0)
    microphone = open_microphone(card.microphone_name)
    assert microphone.position == 0
    assert microphone.read(0) is None, "nothing is heard before the start"
    card.start()
    heard = []
    while frame := microphone.read(DEADLINE_S):
        heard.append(np.frombuffer(frame, np.int16))
        moment_s = card.started_at_s + microphone.position / (16_000 * 4)
        assert microphone.captured_at_s == pytest.approx(moment_s, abs=0.0001)
        assert time.monotonic() >= moment_s
    assert card.microphone_ended.is_set()
    sound = np.concatenate(heard)
    assert np.array_equal(sound[: len(pcm)], pcm)
    assert len(sound) == 51 * 320
    assert not sound[len(pcm) :].any(), "the last frame is filled with silence"
    assert microphone.position == len(pcm)
    assert microphone.read(0) == b""
    microphone.close()


@pytest.mark.parametrize(
    ("name", "rate_hz", "channels"), [("a.flac", 44_100, 2), ("a.mp3", 48_000, 1), ("a.wav", 96_000, 8)]
)
def test_any_sound_file_is_a_microphone(
    tmp_path: Path, open_card: OpenCard, name: str, rate_hz: int, channels: int
) -> None:
    wave = 0.4 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    soundfile.write(tmp_path / name, np.repeat(wave[:, None], channels, axis=1), rate_hz)
    card = open_card(tmp_path / name, speed=50.0)
    card.start()
    microphone = open_microphone(card.microphone_name)
    heard = hear(microphone)
    microphone.close()
    assert len(heard) == pytest.approx(16_000, abs=1_500)
    assert np.abs(heard[2_000:14_000]).max() == pytest.approx(0.4 * 32_768, rel=0.03)


KILLED = """
import sys
from assistant.audio.microphone import open_microphone
microphone = open_microphone(sys.argv[1])
for _ in range(20):
    microphone.read(5)
microphone.settled(3_000)
while microphone.read(5):
    print(microphone.position, flush=True)
"""


def test_after_a_killed_worker_comes_one_that_hears_all_that_was_not_settled(
    tmp_path: Path, open_card: OpenCard, noise: Noise
) -> None:
    pcm = noise(32_000)
    card = open_card(recording(tmp_path, pcm), speed=4.0)
    card.start()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, card.microphone_name], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout
        assert int(worker.stdout.readline()) >= 6_400
        worker.send_signal(signal.SIGKILL)
    successor = open_microphone(card.microphone_name)
    assert successor.position == 3_000
    assert np.array_equal(hear(successor, 29_000), pcm[3_000:])
    assert successor.position == 32_000

    # all is dealt with: the next one finds the end only
    successor.settled(99_999_999)
    successor.close()
    for _ in range(2):
        last = open_microphone(card.microphone_name)
        rest = hear(last)
        last.close()
        assert not rest.any() or last.position == 32_000


def test_a_newer_worker_replaces_the_older(tmp_path: Path, open_card: OpenCard, noise: Noise) -> None:
    card = open_card(recording(tmp_path, noise(64_000)), speed=1.0)
    older = open_microphone(card.microphone_name)
    card.start()
    hear(older, 320)
    newer = open_microphone(card.microphone_name)
    assert np.array_equal(hear(newer, 640), noise(64_000)[:640])
    with pytest.raises(AudioError, match="went away"):
        hear(older)
    older.close()
    newer.close()


def test_a_worker_learns_that_the_card_is_gone(tmp_path: Path, noise: Noise) -> None:
    path = recording(tmp_path, noise(64_000))
    card = SoundCard(str(path), "", 16_000, folder=tmp_path / "card")
    card.start()
    microphone = open_microphone(card.microphone_name)
    speaker = open_speaker(card.speaker_name, 16_000)
    card.close()
    with pytest.raises(AudioError, match="went away"):
        hear(microphone)
    with pytest.raises(AudioError, match="went away"):
        speaker.write(noise(16_000))
    for use in (speaker.stop, speaker.played, speaker.pending):
        with pytest.raises(AudioError, match="went away"):
            use()
    microphone.close()
    speaker.close()
    assert not list((tmp_path / "card").iterdir())
    for open_it in (open_microphone, lambda name: open_speaker(name, 16_000)):
        with pytest.raises(AudioError, match="cannot be reached"):
            open_it(card.microphone_name)


def header_of(pcm_rate_hz: int) -> bytes:
    out = io.BytesIO()
    WavStreamWriter(out, pcm_rate_hz)
    return out.getvalue()


def test_a_fifo_is_heard_as_it_is_written(open_card: OpenCard, fifo: Path, noise: Noise) -> None:
    pcm = noise(3_200)
    # the speed is for recordings: a stream sets its own
    card = open_card(fifo, speed=0.001)
    card.start()
    microphone = open_microphone(card.microphone_name)
    assert microphone.read(0) is None
    with open(fifo, "wb", buffering=0) as out:
        for byte in header_of(16_000):
            out.write(bytes([byte]))
        assert microphone.read(0.01) is None, "there was a header, but no sound"
        before_s = time.monotonic()
        for start in range(0, 3_200, 320):
            sound = pcm[start : start + 320].tobytes()
            out.write(sound[:333])
            assert microphone.read(0) is None
            out.write(sound[333:])
            assert np.array_equal(hear(microphone, 320), pcm[start : start + 320])
            assert before_s <= microphone.captured_at_s <= time.monotonic()
        assert not card.microphone_ended.is_set()
    assert hear(microphone).size == 0
    assert card.microphone_ended.wait(DEADLINE_S)
    microphone.close()


def test_a_recording_waits_for_its_reader_and_loses_nothing(tmp_path: Path, open_card: OpenCard) -> None:
    # 400 s, more than a card keeps for a worker that is not there
    pcm = (np.arange(400 * 16_000) % 30_011).astype(np.int16)
    card = open_card(recording(tmp_path, pcm), speed=1_000.0)
    card.start()
    microphone = open_microphone(card.microphone_name)
    heard = [hear(microphone, 3_200)]
    assert not card.microphone_ended.wait(1), "all was heard before it was read"
    heard.append(hear(microphone))
    assert np.array_equal(np.concatenate(heard), pcm)
    microphone.close()


def test_a_fifo_that_is_written_faster_than_read_loses_nothing(
    open_card: OpenCard, fifo: Path, run: Run
) -> None:
    # 400 s, more than a card keeps for a worker that is not there
    pcm = (np.arange(400 * 16_000) % 30_011).astype(np.int16)
    card = open_card(fifo)
    card.start()

    def write() -> None:
        with open(fifo, "wb", buffering=0) as out:
            writer = WavStreamWriter(out, 16_000)
            writer.write(pcm)
            writer.close()

    run(write)
    microphone = open_microphone(card.microphone_name)
    assert np.array_equal(hear(microphone), pcm)
    microphone.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"no sound at all, only text", "not WAV"),
        (header_of(16_000)[:30], "within its WAV"),
    ],
)
def test_a_fifo_with_something_else_is_an_error(
    tmp_path: Path, fifo: Path, content: bytes, reason: str
) -> None:
    card = SoundCard(str(fifo), "", 16_000, folder=tmp_path / "card")
    card.start()
    with open(fifo, "wb", buffering=0) as out:
        out.write(content)
    microphone = open_microphone(card.microphone_name)
    assert microphone.read(DEADLINE_S) == b"", "the worker comes to an end as well"
    microphone.close()
    assert card.microphone_ended.wait(DEADLINE_S)
    with pytest.raises(AudioError, match=reason):
        card.close()


def test_closing_waits_for_nobody(tmp_path: Path) -> None:
    for name in ("in", "out"):
        os.mkfifo(tmp_path / name)
    card = SoundCard(str(tmp_path / "in"), str(tmp_path / "out"), 16_000, folder=tmp_path / "card")
    card.start()
    microphone = open_microphone(card.microphone_name)
    begun_s = time.monotonic()
    card.close()
    card.close()
    assert time.monotonic() - begun_s < 5
    microphone.close()

    never_started = SoundCard(str(tmp_path / "in"), "", 16_000, folder=tmp_path / "card")
    never_started.close()


@pytest.mark.parametrize(
    ("microphone", "speaker", "reason"),
    [
        ("absent.wav", "", "There is no sound file"),
        ("text.wav", "", "is not sound"),
        (".", "", "is a folder"),
        ("good.wav", "absent/out.wav", "cannot be written: the folder .*/absent does not exist"),
        ("good.wav", ".", "cannot be written: Is a directory"),
        ("good.wav", "out.MP3", "out.MP3 cannot be written: only WAV is; name it out.wav."),
        ("good.wav", "good.wav", "is the microphone's file already"),
    ],
)
def test_what_cannot_be_a_card_is_said_before_anything_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Noise, microphone: str, speaker: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(Path("good.wav"), noise(100), 16_000)
    before = Path("good.wav").read_bytes()
    Path("text.wav").write_text("This is no sound.")
    with pytest.raises(AudioError, match=reason):
        SoundCard(microphone, speaker, 16_000, folder=tmp_path / "card")
    assert Path("good.wav").read_bytes() == before


def test_a_socket_path_too_long_is_said(tmp_path: Path, noise: Noise) -> None:
    with pytest.raises(AudioError, match="short path"):
        SoundCard(str(recording(tmp_path, noise(100))), "", 16_000, folder=tmp_path / ("x" * 100))


def test_the_sockets_are_for_the_user_alone(tmp_path: Path, open_card: OpenCard, noise: Noise) -> None:
    card = open_card(recording(tmp_path, noise(100)))
    path = Path(card.microphone_name.removeprefix("card:"))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ---------------------------------------------------------------- speaker


def say(speaker: Speaker, pcm: Int16) -> None:
    speaker.write(pcm)
    until(lambda: speaker.pending() == 0)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 48_000])
def test_the_file_has_every_sample_at_its_moment(
    tmp_path: Path, open_card: OpenCard, noise: Noise, rate_hz: int
) -> None:
    out = tmp_path / "out.wav"
    speed = 5.0
    card = open_card(recording(tmp_path, noise(160)), out, rate_hz, speed)
    card.start()
    speaker = open_speaker(card.speaker_name, 8_000)
    assert speaker.rate_hz == rate_hz
    pcm = noise(rate_hz)
    begun_s = time.monotonic()
    say(speaker, pcm[: rate_hz // 2])
    between_s = time.monotonic()
    say(speaker, pcm[rate_hz // 2 :])
    assert speaker.played() == rate_hz
    moments = [speaker.heard_at_s(0), speaker.heard_at_s(rate_hz // 2)]
    speaker.close()
    card.close()

    sound = read(out)
    places = [round((at_s - card.started_at_s) * rate_hz * speed) for at_s in moments]
    for place, part in zip(places, np.array_split(pcm, 2), strict=True):
        assert np.array_equal(sound[place : place + len(part)], part)
    assert np.count_nonzero(sound) == rate_hz, "all else is silence"
    assert begun_s <= moments[0] <= between_s <= moments[1]
    assert moments[1] - moments[0] >= 0.5 / speed


def test_the_clock_runs_without_anybody_speaking(tmp_path: Path, open_card: OpenCard, noise: Noise) -> None:
    out = tmp_path / "out.wav"
    card = open_card(recording(tmp_path, noise(16_000)), out, 22_050, 10.0)
    card.start()
    assert card.microphone_ended.wait(DEADLINE_S)
    card.close()
    elapsed = (time.monotonic() - card.started_at_s) * 22_050 * 10
    sound = read(out)
    assert 22_050 <= len(sound) <= elapsed + 220
    assert not sound.any()


def test_stop_is_silent_at_once_and_gives_numbers_back(
    tmp_path: Path, open_card: OpenCard, noise: Noise, run: Run
) -> None:
    out = tmp_path / "out.wav"
    card = open_card(recording(tmp_path, noise(160)), out)
    card.start()
    speaker = open_speaker(card.speaker_name, 16_000)
    pcm = noise(32_000)
    late, heard, begins = [], [], []
    for _ in range(4):
        begins.append(speaker.played())
        writing = run(lambda: speaker.write(pcm))
        until(lambda: speaker.played() > begins[-1] + 800)
        before = speaker.played()
        speaker.stop()
        late.append(speaker.played() - before)
        writing.join(DEADLINE_S)
        assert not writing.is_alive(), "a stopped write returns"
        assert speaker.pending() == 0
        heard.append(speaker.played())
        stopped_at = (time.monotonic() - card.started_at_s) * 16_000
    # 50 ms; a busy machine may hold up one of them
    assert min(late) < 800
    last = speaker.heard_at_s(heard[-1] - 1)
    assert last * 16_000 <= card.started_at_s * 16_000 + stopped_at
    speaker.close()
    card.close()

    sound = read(out)
    assert np.count_nonzero(sound) == heard[-1]
    assert np.flatnonzero(sound)[-1] <= stopped_at
    spoken = sound[sound != 0]
    for begin, end in zip(begins, heard, strict=True):
        assert np.array_equal(spoken[begin:end], pcm[: end - begin])


def test_write_waits_while_100_ms_are_ahead(tmp_path: Path, open_card: OpenCard, noise: Noise) -> None:
    card = open_card(recording(tmp_path, noise(160)), "", 16_000, 2.0)
    card.start()
    speaker = open_speaker(card.speaker_name, 16_000)
    before_s = time.monotonic()
    speaker.write(noise(16_000))
    waited_s = time.monotonic() - before_s
    assert waited_s >= 0.5 - 0.1 - 0.02
    assert speaker.pending() <= 0.1 * 16_000 * 2
    played, pending = speaker.played(), speaker.pending()
    assert played + pending <= 16_000 <= speaker.played() + pending  # time goes on between two questions
    speaker.close()


def test_what_a_worker_that_went_away_left_unplayed_is_dropped(
    tmp_path: Path, open_card: OpenCard, noise: Noise
) -> None:
    out = tmp_path / "out.wav"
    card = open_card(recording(tmp_path, noise(160)), out)
    first = open_speaker(card.speaker_name, 16_000)
    # the clock stands still before the start, so nothing of this is played
    first.write(np.full(1_600, 111, np.int16))
    first.close()
    second = open_speaker(card.speaker_name, 16_000)
    card.start()
    assert second.played() == 0
    say(second, np.full(800, 222, np.int16))
    second.close()
    card.close()
    assert set(np.unique(read(out))) == {0, 222}


def test_a_fifo_is_played_live(tmp_path: Path, open_card: OpenCard, fifo: Path, noise: Noise) -> None:
    card = open_card(recording(tmp_path, noise(160)), fifo, 22_050)
    raw = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    os.set_blocking(raw.fileno(), True)
    card.start()
    # before its first writer a FIFO only looks as if it had ended
    assert select.select([raw], [], [], DEADLINE_S)[0]
    stream = WavStreamReader(raw)
    assert stream.rate_hz == 22_050
    silence = stream.read(220)
    assert not silence.any(), "silence comes at once, before anybody speaks"
    speaker = open_speaker(card.speaker_name, 22_050)
    pcm = noise(4_410)
    speaker.write(pcm[:1_000])
    position = len(silence)
    heard = EMPTY
    while len(heard) < 1_000:
        block = stream.read(220)[:, 0]
        position += len(block)
        # no sample comes before its moment
        assert (position - 220) / 22_050 <= time.monotonic() - card.started_at_s
        heard = np.concatenate([heard, block[block != 0]]).astype(np.int16)
    assert np.array_equal(heard, pcm[:1_000])

    raw.close()
    until(lambda: card.speaker_lost)
    say(speaker, pcm)
    assert speaker.played() == 1_000 + 4_410, "the clock goes on without a listener"
    speaker.close()
    assert card.failure is None


def test_who_opens_the_fifo_late_hears_all_of_it(tmp_path: Path, fifo: Path, noise: Noise) -> None:
    card = SoundCard(str(recording(tmp_path, noise(160))), str(fifo), 16_000, 4.0, folder=tmp_path / "card")
    card.start()
    speaker = open_speaker(card.speaker_name, 16_000)
    say(speaker, noise(8_000))
    place = round((speaker.heard_at_s(0) - card.started_at_s) * 16_000 * 4)
    speaker.close()
    heard = EMPTY
    with open(fifo, "rb", buffering=0) as raw:
        stream = WavStreamReader(raw)
        while len(heard) < place + 8_000:
            heard = np.concatenate([heard, stream.read(9_999)[:, 0]]).astype(np.int16)
        card.close()
        assert not card.speaker_lost
    assert np.array_equal(heard[place : place + 8_000], noise(8_000))


def test_a_reader_that_does_not_read_holds_nobody_up(tmp_path: Path, fifo: Path, noise: Noise) -> None:
    card = SoundCard(str(recording(tmp_path, noise(160))), str(fifo), 48_000, 20.0, folder=tmp_path / "card")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    card.start()
    speaker = open_speaker(card.speaker_name, 48_000)
    # 1 s, more than the pipe takes
    say(speaker, noise(48_000))
    speaker.close()
    before_s = time.monotonic()
    card.close()
    assert time.monotonic() - before_s < 5
    os.close(reader)


def test_a_full_disk_is_told_and_holds_nobody_up(tmp_path: Path, noise: Noise) -> None:
    card = SoundCard(str(recording(tmp_path, noise(1_600))), "/dev/full", 16_000, folder=tmp_path / "card")
    card.start()
    speaker = open_speaker(card.speaker_name, 16_000)
    say(speaker, noise(1_600))
    speaker.close()
    assert card.microphone_ended.wait(DEADLINE_S)
    assert "/dev/full cannot be written: No space left on device; make room" in str(card.failure)
    with pytest.raises(AudioError, match="No space left"):
        card.close()


STANDARD = """
import sys
from pathlib import Path
from assistant.audio.card import SoundCard
from assistant.audio.microphone import open_microphone
from assistant.audio.speaker import open_speaker
import numpy as np
card = SoundCard("-", "-", 16_000, folder=Path(sys.argv[1]))
microphone, speaker = open_microphone(card.microphone_name), open_speaker(card.speaker_name, 16_000)
card.start()
while frame := microphone.read(5):
    speaker.write(np.frombuffer(frame, np.int16))
while speaker.pending():
    pass
speaker.close()
card.close()
"""


@pytest.mark.parametrize("to_file", [False, True])
def test_standard_input_and_output(tmp_path: Path, noise: Noise, to_file: bool) -> None:
    pcm = noise(6_400)
    stream = header_of(16_000) + pcm.tobytes()
    command = [sys.executable, "-c", STANDARD, str(tmp_path / "card")]
    out = tmp_path / "out.wav"
    if to_file:
        with out.open("wb") as file:
            subprocess.run(command, input=stream, stdout=file, check=True, timeout=30)
        assert struct.unpack_from("<I", out.read_bytes(), 40)[0] == out.stat().st_size - 44
    else:
        out.write_bytes(
            subprocess.run(command, input=stream, stdout=subprocess.PIPE, check=True, timeout=30).stdout
        )
    sound = read(out)
    assert np.array_equal(sound[sound != 0], pcm)


CLOSED = """
import sys
from pathlib import Path
from assistant.audio.card import SoundCard
from assistant.errors import AudioError
# takes the number of what was closed
other = open("/dev/null", "r+b")
try:
    SoundCard(sys.argv[2], sys.argv[3], 16_000, folder=Path(sys.argv[1]))
except AudioError as error:
    print(error, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("close", "microphone", "speaker", "name"),
    [("<&-", "-", "", "input"), (">&-", "microphone.wav", "-", "output")],
)
def test_standard_input_or_output_that_is_closed_is_said(
    tmp_path: Path, noise: Noise, close: str, microphone: str, speaker: str, name: str
) -> None:
    if microphone != "-":
        microphone = str(recording(tmp_path, noise(100)))
    command = ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, "-c", CLOSED, str(tmp_path / "card")]
    ran = subprocess.run(
        [*command, microphone, speaker], stderr=subprocess.PIPE, text=True, check=True, timeout=30
    )
    assert ran.stderr.startswith(f"Standard {name} cannot be used: Bad file descriptor; ")
    assert ran.stderr.count("\n") == 1


def test_a_cards_names_are_known_from_its_folder(tmp_path: Path, noise: Noise) -> None:
    card = SoundCard(str(recording(tmp_path, noise(100))), "", 16_000, folder=tmp_path / "card")
    assert card.microphone_name == microphone_name(tmp_path / "card")
    assert card.speaker_name == speaker_name(tmp_path / "card")
    card.close()
