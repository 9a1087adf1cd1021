"""Whether the assistant interrupts itself, and how soon people can interrupt it.

    python -m benchmarks.barge_in [--answers N] [--chain N] [--alone] [--seed N]

The assistant's own voice (the tiny one) is fed back into its microphone in rooms that differ in how loud and
how late the echo is.  First in this process, many answers: what vad does with the sound, once it knows the
room, in the first answer after a start, and where the speaker swallows the beginning of that.  Then the whole
appliance, in real time, with the room between its speaker and its microphone: questions whose answers nobody
interrupts, and questions whose answers somebody does, with any words ("voice") or with "stop" ("word").
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from assistant.audio.clip import AUDIBLE
from assistant.audio.files import blocks
from assistant.audio.formats import FRAME_SAMPLES, RATE_HZ
from assistant.audio.pipes import PipeReader, PipeWriter
from assistant.audio.resampling import Resampler, ToMono16k
from assistant.audio.wav import WavStreamReader, WavStreamWriter
from assistant.config import Tts
from assistant.engines.piper import PiperEngine
from benchmarks.report import percentile, report
from benchmarks.room import WALLS, Ear, Pcm, Room, at_normal_level, first_voiced

TESTS = Path(__file__).parent.parent / "tests"
STORY = TESTS / "audio" / "story.wav"
"""Asks for a long answer."""

STOP = TESTS / "audio" / "stop.wav"
PEOPLE = ("jfk", "librivox-0870", "librivox-0880", "cards-001", "cards-002")
ECHOES_DB = (-10, -20, -30)
DELAYS_MS = (20, 100, 200, 300)
CHAIN_DELAYS_MS = (20, 300)
JITTER_S = 0.004
AHEAD_S = 0.08
"""How long before it is heard vad is told what is played."""

FIRST_ECHOES_DB, FIRST_NOISES_DBFS, FIRST_S = (-10, -20, -30, -60), (-60, -45), 10.0
"""Of the first answers after a start, and how long they are; the canceller knows nothing of the room then."""

SWALLOWED_S = (0.6, 4.0)
"""How much of such an answer a speaker swallows that has to wake up, as televisions do: at least, at most."""

FAR = 2.0
"""How loud the walls are beside the direct sound of a speaker on the other side of the room."""

PAUSE_S = 1.5
"""Between two answers."""

BREAK_S = 0.5
"""Silence of the speaker behind which comes another answer: to what the interrupting person said."""

SPEAKS_S = 1.4
WITHIN_S = 1.0
"""How long a person speaks who interrupts, and within which time that has to be noticed."""

CONFIG = """\
[audio]
barge_in = "{barge_in}"
[vad]
hangover_ms = 500
[stt]
model = "{models}/whisper-tiny-test"
[llm]
model = "{models}/tiny-chat-q8_0.gguf"
temperature = 0
[tts]
model = "{models}/en_US-tiny-low.onnx"
[sounds]
earcons = true
"""


class Person(NamedTuple):
    """Somebody who speaks; `voiced` is the first sample that is."""

    pcm: Pcm
    voiced: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--answers",
        type=int,
        default=100,
        metavar="N",
        help="in each of 12 rooms, and of 14 at the start, in this process; 100 take half an hour",
    )
    parser.add_argument(
        "--chain",
        type=int,
        default=6,
        metavar="N",
        help="in each room, of the whole appliance; 6 take about half an hour",
    )
    parser.add_argument(
        "--alone", action="store_true", help="of the whole appliance only answers that nobody interrupts"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    voices = _answers()
    people = [at_normal_level(_sound(TESTS / "audio" / "people" / f"{name}.wav")) for name in PEOPLE]
    if options.answers:
        print("vad alone; reaction in ms from the first voiced sample to the decision")
        rooms = [(echo_db, delay_ms) for echo_db in ECHOES_DB for delay_ms in DELAYS_MS]
        rows = [_simulated(voices, people, *room, options.answers, options.seed) for room in rooms]
        report("barge_in_vad", rows)
        print("\nthe first answer after a start, which somebody interrupts after 0.3 to 7.3 s")
        quiet = [(echo_db, noise_dbfs) for noise_dbfs in FIRST_NOISES_DBFS for echo_db in FIRST_ECHOES_DB]
        report(
            "barge_in_first", [_first(voices, people, *room, options.answers, options.seed) for room in quiet]
        )
        print("\nthe same, of which the speaker swallows the beginning; nobody interrupts it")
        report(
            "barge_in_late",
            [
                _late(voices, echo_db, walls, options.answers, options.seed)
                for walls in (WALLS, FAR)
                for echo_db in ECHOES_DB
            ],
        )
    if options.chain:
        print("\nthe whole appliance; reaction in ms from the first voiced sample to the speaker's silence")
        said = {"voice": people, "word": [at_normal_level(_sound(STOP))]}
        broken = 0 if options.alone else options.chain
        rows = [
            in_the_room(barge_in, said[barge_in], echo_db, delay_ms, options.chain, broken, options.seed)
            for barge_in in ("voice", "word")
            for echo_db in ECHOES_DB
            for delay_ms in CHAIN_DELAYS_MS
        ]
        report("barge_in", rows)


# ---------------------------------------------------------------- in this process


def _simulated(
    voices: Sequence[Pcm], people: Sequence[Pcm], echo_db: float, delay_ms: float, answers: int, seed: int
) -> dict[str, object]:
    """`answers` that nobody interrupts, then as many that somebody does."""
    random = np.random.default_rng(seed)
    room, ear = Room(echo_db, delay_ms, seed), Ear(seed, JITTER_S)
    alone = [interruptions(room, ear, _any(voices, random)) for _ in range(answers)]
    own = sum(len(times) for times in alone)
    broken = []
    for _ in range(answers):
        person, begins = _person(people, random), int(random.uniform(0.2, 0.8) * RATE_HZ)
        answer = _any(voices, random)
        while len(answer) < begins + WITHIN_S * RATE_HZ:
            answer = np.concatenate([answer, _any(voices, random)])
        broken.append(_broken(room, ear, answer, person, begins))
    reactions = [1000 * after_s for _, after_s in broken if after_s is not None]
    early = sum(times for times, _ in broken)
    return {
        "echo, dB": echo_db,
        "delay, ms": delay_ms,
        "answers": answers,
        "self-interruptions": own + early,
        "interrupted": answers,
        "missed": answers - len(reactions),
        **_percentiles(reactions),
    }


def _first(
    voices: Sequence[Pcm], people: Sequence[Pcm], echo_db: float, noise_dbfs: float, answers: int, seed: int
) -> dict[str, object]:
    """`answers` of an assistant that has just been started, each in a room of its own."""
    random = np.random.default_rng(seed)
    own, broken = 0, []
    for number in range(answers):
        delay_ms = float(random.choice(DELAYS_MS))
        answer = np.concatenate([_any(voices, random) for _ in range(100)])[: int(FIRST_S * RATE_HZ)]
        alone = Room(echo_db, delay_ms, number, noise_dbfs), Ear(number, JITTER_S)
        own += len(interruptions(*alone, _whole_frames(answer)))
        person, begins = _person(people, random), int(random.uniform(0.3, 7.3) * RATE_HZ)
        room, ear = Room(echo_db, delay_ms, number, noise_dbfs), Ear(number, JITTER_S)
        broken.append(_broken(room, ear, _whole_frames(answer), person, begins))
    reactions = [1000 * after_s for _, after_s in broken if after_s is not None]
    return {
        "echo, dB": echo_db,
        "noise, dBFS": noise_dbfs,
        "self-interruptions": own + sum(times for times, _ in broken),
        "interrupted": answers,
        "missed": answers - len(reactions),
        **_percentiles(reactions),
    }


def _late(voices: Sequence[Pcm], echo_db: float, walls: float, answers: int, seed: int) -> dict[str, object]:
    """`answers` of an assistant that has just been started, which can be heard only from a moment on."""
    random = np.random.default_rng(seed)
    own = 0
    for number in range(answers):
        answer = np.concatenate([_any(voices, random) for _ in range(100)])[: int(FIRST_S * RATE_HZ)]
        room = Room(echo_db, float(random.choice(DELAYS_MS)), number, walls=walls)
        swallowed = int(random.uniform(*SWALLOWED_S) * RATE_HZ)
        own += len(interruptions(room, Ear(number, JITTER_S), _whole_frames(answer), swallowed=swallowed))
    return {"echo, dB": echo_db, "walls": walls, "answers": answers, "self-interruptions": own}


def _broken(room: Room, ear: Ear, answer: Pcm, person: Person, begins: int) -> tuple[int, float | None]:
    """How often somebody was heard before the person spoke, and how soon (s) they were, if in time."""
    first_s = (begins + person.voiced) / RATE_HZ
    times = interruptions(room, ear, answer, person.pcm, begins)
    later = [at_s - first_s for at_s in times if at_s >= first_s]
    early = sum(at_s < first_s for at_s in times)
    return early, later[0] if later and later[0] <= WITHIN_S else None


def interruptions(
    room: Room, ear: Ear, answer: Pcm, person: Pcm | None = None, begins: int = 0, swallowed: int = 0
) -> list[float]:
    """When, from the answer's first sample on, a person was found to speak.

    Of the answer the first `swallowed` samples are not heard.
    """
    pause = np.zeros(int(PAUSE_S * RATE_HZ), np.int16)
    played = _whole_frames(np.concatenate([answer, pause]))
    said = np.zeros(len(played), np.int16)
    if person is not None:
        said[begins : begins + len(person)] = person[: len(said) - begins]
    heard = room.hear(np.where(np.arange(len(played)) < swallowed, 0, played), said)
    start_s, found = ear.now_s, []
    posted = 0
    for at in range(0, len(heard), FRAME_SAMPLES):
        while posted < min(len(answer), at + AHEAD_S * RATE_HZ):
            block = answer[posted : posted + FRAME_SAMPLES]
            ear.own_voice.played(block.tobytes(), start_s + posted / RATE_HZ)
            posted += FRAME_SAMPLES
        if ear.hear(heard[at : at + FRAME_SAMPLES], speaking=at < len(answer)):
            found.append(ear.now_s - start_s)
            ear.own_voice.person_fell_silent()
    return found


# ---------------------------------------------------------------- the whole appliance


class Asked(NamedTuple):
    """A question, and the person who interrupts its answer `after_s` it has begun, or nobody."""

    question: Pcm
    person: Person | None
    after_s: float


class Result(NamedTuple):
    """How an answer went; in samples of the speaker's and the microphone's common stream."""

    voiced: int | None
    """The interrupting person's first voiced sample."""
    silent: int
    """The last audible sample of the answer."""


class Conversation:
    """The people in the room: who speaks when, as the speaker is heard.  Pure."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = list(asked)
        self.results: list[Result] = []
        self._said = np.concatenate([np.zeros(RATE_HZ, np.int16), self._asked[0].question])
        self._at = 0
        self._began: int | None = None
        self._last = self._heard_last = 0
        self._voiced: int | None = None
        self._waits_since = len(self._said)

    @property
    def is_over(self) -> bool:
        return len(self.results) == len(self._asked)

    def say(self, played: Pcm) -> Pcm:
        """What people say while the speaker plays `played`."""
        count = len(played)
        said, self._said = self._said[:count], self._said[count:]
        asked = self._asked[len(self.results)]
        loud = np.flatnonzero(np.abs(played.astype(np.int32)) >= AUDIBLE)
        if len(loud) and self._at >= self._waits_since:
            self._last = self._at + int(loud[-1])
            if self._voiced is None or self._last - self._heard_last < BREAK_S * RATE_HZ:
                self._heard_last = self._last
            if self._began is None and len(loud) > count // 4:
                self._began = self._at
        if self._began is not None and asked.person is not None and self._voiced is None:
            begins = self._began + int(asked.after_s * RATE_HZ)
            if self._at >= begins:
                self._voiced = self._at + count + asked.person.voiced
                self._said = asked.person.pcm
        self._at += count
        self._go_on()
        return np.pad(said, (0, count - len(said)))

    def _go_on(self) -> None:
        """The next question, when it has been silent for a while."""
        waits_s = (self._at - max(self._last, self._waits_since)) / RATE_HZ
        if len(self._said) or waits_s < (2.0 if self._began is not None else 8.0):
            return
        self.results.append(Result(self._voiced, self._heard_last))
        self._began = self._voiced = None
        if not self.is_over:
            self._said = self._asked[len(self.results)].question
            self._waits_since = self._at + len(self._said)


def in_the_room(
    barge_in: str,
    people: Sequence[Pcm],
    echo_db: float,
    delay_ms: float,
    answers: int,
    broken_answers: int,
    seed: int,
) -> dict[str, object]:
    """`answers` that nobody interrupts, of which a fifth are long, then those that one of `people` does."""
    random = np.random.default_rng(seed)
    short = sorted(TESTS.glob("audio/q*.wav"))[:22]
    questions = [at_normal_level(_sound(file)) for file in [*short, *[STORY] * (len(short) // 4)]]
    alone = [Asked(_any(questions, random), None, 0) for _ in range(answers)]
    broken = [
        Asked(at_normal_level(_sound(STORY)), _person(people, random), random.uniform(0.5, 4.0))
        for _ in range(broken_answers)
    ]
    conversation = Conversation([*alone, *broken])
    events = _appliance(conversation, Room(echo_db, delay_ms, seed), barge_in)
    seen = _seen(conversation, events, answers)
    return {"barge_in": barge_in, "echo, dB": echo_db, "delay, ms": delay_ms, "answers": answers, **seen}


def _seen(conversation: Conversation, events: Sequence[dict[str, object]], answers: int) -> dict[str, object]:
    """What became of the first `answers`, that nobody interrupted, and of the rest."""
    since_s = next(float(str(event["t"])) for event in events if event["event"] == "listening")
    done = [
        (float(str(event["t"])) - since_s, event["outcome"]) for event in events if event["event"] == "done"
    ]
    alone_until_s = conversation.results[answers - 1].silent / RATE_HZ + 1
    alone = [outcome for at_s, outcome in done if at_s < alone_until_s]
    interrupted = [result for result in conversation.results if result.voiced is not None]
    reactions = []
    for result in interrupted:
        voiced_s = (result.voiced or 0) / RATE_HZ
        if next((outcome for at_s, outcome in done if at_s > voiced_s), "") == "cancelled":
            reactions.append(1000 * (result.silent / RATE_HZ - voiced_s))
    return {
        "self-interruptions": alone.count("cancelled"),
        "self-answers": max(0, alone.count("answered") - answers),
        "noises": alone.count("nothing"),
        "unanswered": max(0, answers - alone.count("answered")),
        "interrupted": len(interrupted),
        "missed": len(interrupted) - len(reactions),
        **_percentiles(reactions),
    }


def _appliance(conversation: Conversation, room: Room, barge_in: str) -> list[dict[str, object]]:
    """The events of `assistant run` in the room, until the conversation is over."""
    with tempfile.TemporaryDirectory() as folder:
        config, microphone, speaker = (
            Path(folder) / name for name in ("config.toml", "microphone", "speaker")
        )
        config.write_text(CONFIG.format(models=TESTS / "models", barge_in=barge_in), encoding="utf-8")
        os.mkfifo(microphone)
        os.mkfifo(speaker)
        command = [sys.executable, "-m", "assistant", "--config", str(config), "run", "--json"]
        command += ["--mic", str(microphone), "--speaker", str(speaker)]
        out = PipeReader(str(speaker))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            sounding = threading.Thread(target=_sound_in, args=(room, conversation, out, microphone))
            sounding.start()
            assert process.stdout is not None
            events = [json.loads(line) for line in process.stdout]
            out.stop()
            sounding.join()
        out.close()
    return events


def _sound_in(room: Room, conversation: Conversation, speaker: PipeReader, microphone: Path) -> None:
    """Carry the sound from the speaker to the microphone, in the speaker's time."""
    stream = WavStreamReader(speaker)
    convert = ToMono16k(stream.rate_hz, stream.channels)
    to_microphone = WavStreamWriter(PipeWriter(str(microphone)), RATE_HZ)
    while not conversation.is_over and len(played := stream.read(stream.rate_hz // 50)):
        at_16k = convert.feed(played)
        if len(at_16k):
            to_microphone.write(room.hear(at_16k, conversation.say(at_16k)))
    to_microphone.close()
    while len(stream.read(stream.rate_hz)):
        pass


# ---------------------------------------------------------------- sounds


def _person(people: Sequence[Pcm], random: np.random.Generator) -> Person:
    """Somebody who says something, from anywhere in a recording on, or a short one as a whole."""
    while True:
        pcm = _any(people, random)
        start = int(random.integers(max(1, len(pcm) - int(SPEAKS_S * RATE_HZ))))
        said = pcm[start : start + int(SPEAKS_S * RATE_HZ)].copy()
        rise = 80
        said[:rise] = said[:rise] * np.linspace(0, 1, rise)
        if np.abs(said[: RATE_HZ // 2].astype(np.int32)).max() > AUDIBLE * 10:
            return Person(said, first_voiced(said))


def _answers() -> list[Pcm]:
    """What the tiny voice says to the recorded questions."""
    engine = PiperEngine(TESTS / "models" / "en_US-tiny-medium.onnx", Tts())
    with (TESTS / "audio" / "answers.tsv").open(encoding="utf-8") as file:
        texts = [row["answer"] for row in csv.DictReader(file, delimiter="\t") if row["answer"]]
    return [np.concatenate(list(_at_16k(engine, text))) for text in texts]


def _at_16k(engine: PiperEngine, text: str) -> Iterator[Pcm]:
    resampler = Resampler(engine.rate_hz, RATE_HZ)
    for piece in engine.speak(text):
        yield resampler.feed(piece)
    yield resampler.end()


def _any(sounds: Sequence[Pcm], random: np.random.Generator) -> Pcm:
    return sounds[int(random.integers(len(sounds)))]


def _sound(file: Path) -> Pcm:
    return np.concatenate(list(blocks(file)))


def _whole_frames(pcm: Pcm) -> Pcm:
    return pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]


def _percentiles(reactions: Sequence[float]) -> dict[str, object]:
    return {f"reaction p{at}": percentile(reactions, at) if reactions else "" for at in (50, 95)}


if __name__ == "__main__":
    main()
