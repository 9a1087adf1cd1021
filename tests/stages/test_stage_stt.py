"""The stt stage on a real link, with faster-whisper and the tiny model."""

from __future__ import annotations

import time

import pytest
from stage_hub import MemoryDaemon, recording

from assistant.audio.formats import RATE_HZ
from assistant.messages import Transcript, Utterance, Worked
from assistant.stages.stt import SttStage


class Desk:
    """The stage, and the daemon that gives it utterances."""

    def __init__(self) -> None:
        self.daemon = MemoryDaemon()
        self.link = self.daemon.connect("stt")
        self.stage = SttStage(self.link)

    def read(self, turn: int, name: str, voiced_ms: int, revision: int = 0) -> Transcript:
        pcm = recording(name).tobytes()
        utterance = Utterance(turn, revision, pcm, RATE_HZ, voiced_ms, speech_end_s=0.0)
        before_s = time.monotonic()
        transcript, worked = self.daemon.have_done("stt", self.stage, self.link, utterance)
        assert isinstance(transcript, Transcript)
        assert (transcript.turn, transcript.revision) == (turn, revision)
        assert isinstance(worked, Worked)
        assert (worked.stage, worked.turn, worked.revision) == ("stt", turn, revision)
        assert before_s <= worked.began_s <= worked.first_s == worked.ended_s == transcript.at_s
        return transcript


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q00.wav", "What is the capital of Germany?"),
        ("q04.wav", "What is the opposite of old?"),
        ("q12.wav", "Which planet is red?"),
    ],
)
def test_an_utterance_becomes_its_text(desk: Desk, name: str, text: str) -> None:
    before_s = time.monotonic()
    transcript = desk.read(3, name, voiced_ms=1500, revision=2)
    assert transcript.text == text
    assert transcript.language == "en"
    assert 0.5 < transcript.confidence <= 1.0
    assert before_s <= transcript.at_s <= time.monotonic()


def test_the_daemon_is_told_at_once_how_long_reading_takes(desk: Desk) -> None:
    first = next(post for post in desk.daemon.owner.posts if isinstance(post, Worked))
    assert (first.stage, first.turn) == ("stt", 0)
    assert first.began_s < first.ended_s


def test_what_was_said_so_far_is_read_as_such(desk: Desk) -> None:
    pcm = recording("q00.wav").tobytes()
    so_far = Utterance(8, 0, pcm, RATE_HZ, 1500, speech_end_s=0.0, so_far=True)
    transcript, _ = desk.daemon.have_done("stt", desk.stage, desk.link, so_far)
    assert isinstance(transcript, Transcript)
    assert (transcript.text, transcript.so_far) == ("What is the capital of Germany?", True)


@pytest.mark.parametrize("name", ["silence", "white", "hum", "music", "gust", "clicks"])
def test_noise_has_no_text(desk: Desk, name: str) -> None:
    transcript = desk.read(4, f"nonspeech/{name}.wav", voiced_ms=200)
    assert (transcript.text, transcript.confidence) == ("", 0.0)


@pytest.mark.parametrize("looks", [1, 2], ids=["before it was read", "while it was read"])
def test_of_a_cancelled_utterance_nothing_is_read(looks: int) -> None:
    desk = Desk()
    seen = 0

    def when_looking(_timeout_s: float | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1 + looks:  # the first one is for the utterance itself
            desk.daemon.broker.cancel(5, 1)

    desk.daemon.when_looking = when_looking
    assert desk.read(5, "q00.wav", 1500, revision=1).text == ""
    assert seen == 1 + looks, "once cancelled, the stage does not go on"
    desk.daemon.when_looking = lambda _timeout_s: None
    assert desk.read(5, "q00.wav", 1500, revision=1).text == "", "stale for good"
    assert desk.read(5, "q00.wav", 1500, revision=2).text == "What is the capital of Germany?"
    assert desk.read(6, "q04.wav", 1500).text == "What is the opposite of old?"
