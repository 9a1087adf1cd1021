"""When a turn begins and ends, in noise: people cut off, words clipped, how soon it is over, false alarms.

    python -m benchmarks.turn_taking [--plain] [--minutes 10] [--quick]

Speech at -26 dBFS (root mean square from the first word to the last) alone, and with each of
`benchmarks.noises` 20, 10 and 5 dB below it; 3 s of noise before and 2.5 s behind.  The speech: four
recordings of people, two of them with word times, and the 24 of the project's own (synthetic) voice, which
outweigh them in the commit (`jfk.wav` is left out); where there are no times, it lasts from the first to the
last 10 ms within 26 dB of the loudest, and 0.3 s at either end count as words.  Into those with word times a
pause of 0.3, 0.5 or 0.8 s is put behind each word but the last, one at a time.

The words decide how long a silence is waited for, as in the chain; but here the transcript is right and
there at once, and the answer, too: what the models take comes on top.  It has no mark at its end while the
sentence goes on.  `cut_marked` is the worst case: a recogniser that puts a full stop behind whatever it read.

`cut` counts turns that ended before the last word began, of so many `pauses`; `first` and `last`, words that
are not whole in one utterance, of all `trials`; the commit is from the end of the last word to the end of
the turn, of the speech without inserted pauses.  A turn that the noise never let end counts as 2500 ms,
and its words are whole in it.

`unfinished_ms` is the shortest silence that ended a turn whose words read as unfinished, if one did.

Of each noise alone, `minutes` at three levels: how often speech began, how many utterances came out, and how
many of these have words that the recogniser of the tests stands by (`answered`).  That one is tiny and knows
the project's own voice; what it makes of noise says nothing of Whisper, so the utterances are what counts.

Writes `turn_taking.png` beside the JSON.
Goals: no word clipped, 2 % of the pauses cut, a commit within 300 ms in the median, no noise answered.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import soundfile
import soxr

from assistant.audio.endpointing import Ended, Endpointer, Paused, Started
from assistant.audio.formats import FRAME_MS, FRAME_SAMPLES, RATE_HZ
from assistant.config import Stt, Vad
from assistant.engines.voice import SILENT, Decision, VoiceDetector
from assistant.engines.whisper import WhisperEngine
from assistant.text.finished import Ending, hangover_ms, reads_as
from benchmarks.noises import NOISES, PEOPLE, Sound, noise, rms
from benchmarks.report import RESULTS, percentile, report

TESTS = Path(__file__).parent.parent / "tests"
FULL_SCALE = 32_768
SPEECH_DBFS, CLEAN_DBFS = -26.0, -70.0
SNRS_DB = (20, 10, 5)
PAUSES_S = (0.3, 0.5, 0.8)
LEVELS_DBFS = (-45, -35, -25)
BEFORE_S, BEHIND_S = 3.0, 2.5
NOISE_POOL_S = 60.0
SHORT_WORD_S = 0.3
TENTATIVE_S = Vad().tentative_pause_ms / 1000
"""The silence with which a pause is announced is in its sound, behind the words."""


class Word(NamedTuple):
    """What was said from when until when."""

    begin_s: float
    end_s: float
    text: str


class Spoken(NamedTuple):
    sound: Sound
    words: tuple[Word, ...]
    pause_s: float = 0.0  # inserted

    def heard_until(self, at_s: float, mark: str) -> str:
        """What a perfect recogniser has read by then; `mark` stands behind an unfinished sentence."""
        heard = [w for w in self.words if w.end_s - min(0.15, (w.end_s - w.begin_s) / 2) < at_s]
        text = " ".join(word.text for word in heard).strip()
        whole = len(heard) == len(self.words)
        return text + ("" if not text or text[-1] in ".?!" else "." if whole else mark)


class Heard(NamedTuple):
    """An utterance: from when until when its sound is, and when it was known to be over."""

    begin_s: float
    end_s: float
    over_s: float
    waited_ms: float  # the silence that ended it
    is_unfinished: bool  # as its words read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of each noise alone; all with 10 take half an hour"
    )
    parser.add_argument("--plain", action="store_true", help="without Silero's second opinion")
    parser.add_argument("--quick", action="store_true", help="10 dB alone, one pause")
    words = parser.parse_args()
    _plots()  # before all the work
    settings = Vad(second_opinion=not words.plain)
    snrs_db, pauses_s = ((10,), (0.5,)) if words.quick else (SNRS_DB, PAUSES_S)
    rows = list(_conditions(settings, snrs_db, pauses_s))
    report("turn_taking", rows)
    alone = [_alone(settings, kind, level, words.minutes) for kind in NOISES for level in LEVELS_DBFS]
    report("turn_taking_noise", alone)
    _plot(rows, alone, RESULTS / "turn_taking.png")


# ---------------------------------------------------------------- speech


def _speech() -> Iterator[Spoken]:
    for name in ("librivox-0870", "librivox-0880"):
        said = json.loads((PEOPLE / f"{name}.json").read_text())["w"]
        words = [
            Word(word["b"], word["b"] + word["d"], word["t"].partition("(")[0])
            for word in said
            if word["t"] != "<sil>"
        ]
        yield _levelled(soundfile.read(PEOPLE / f"{name}.wav")[0], words)
    yield _sentence(PEOPLE / "cards-001.wav", "Ten of clubs.")
    yield _sentence(PEOPLE / "cards-002.wav", "Four, queen of clubs.")
    with (TESTS / "audio" / "expected.tsv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            yield _sentence(TESTS / "audio" / row["file"], row["text"])


def _sentence(path: Path, text: str) -> Spoken:
    samples, rate_hz = soundfile.read(path, always_2d=True)
    sound = soxr.resample(samples.mean(axis=1), rate_hz, RATE_HZ)
    powers = [rms(sound[at : at + 160]) for at in range(0, len(sound) - 160, 160)]
    loud = [i for i, power in enumerate(powers) if power > max(powers) / 20]
    begin_s, end_s = loud[0] / 100, (loud[-1] + 1) / 100
    first = Word(begin_s, begin_s + SHORT_WORD_S, "")
    return _levelled(sound, [first, Word(max(end_s - SHORT_WORD_S, first.end_s), end_s, text)])


def _levelled(sound: Sound, words: Sequence[Word]) -> Spoken:
    said = sound[int(words[0].begin_s * RATE_HZ) : int(words[-1].end_s * RATE_HZ)]
    return Spoken(sound * 10 ** (SPEECH_DBFS / 20) / rms(said), tuple(words))


def _with_pause(spoken: Spoken, behind: int, pause_s: float) -> Spoken:
    """A pause behind word number `behind`: hiss as loud as the recording's quietest tenth of a second."""
    cut = int(spoken.words[behind].end_s * RATE_HZ)
    tenth = RATE_HZ // 10
    floor = min(rms(spoken.sound[at : at + tenth]) for at in range(0, len(spoken.sound) - tenth, 160))
    hiss = floor * np.random.default_rng(behind).standard_normal(int(pause_s * RATE_HZ))
    fade = np.linspace(0, 1, 80)
    before, after = spoken.sound[:cut].copy(), spoken.sound[cut:].copy()
    before[-80:] *= fade[::-1]
    after[:80] *= fade[: len(after)]
    later = [Word(w.begin_s + pause_s, w.end_s + pause_s, w.text) for w in spoken.words[behind + 1 :]]
    return Spoken(np.concatenate([before, hiss, after]), (*spoken.words[: behind + 1], *later), pause_s)


# ---------------------------------------------------------------- conditions


def _conditions(
    settings: Vad, snrs_db: Sequence[int], pauses_s: Sequence[float]
) -> Iterator[dict[str, object]]:
    plain = list(_speech())
    trials = plain + [
        _with_pause(spoken, behind, pause_s)
        for spoken in plain
        for behind in range(len(spoken.words) - 1 if len(spoken.words) > 2 else 0)
        for pause_s in pauses_s
    ]
    yield _condition(settings, "none", 0, trials)
    for kind in NOISES:
        pool = noise(kind, NOISE_POOL_S)
        for snr_db in snrs_db:
            yield _condition(settings, kind, snr_db, trials, pool)


def _condition(
    settings: Vad, kind: str, snr_db: int, trials: list[Spoken], pool: Sound | None = None
) -> dict[str, object]:
    counts = dict.fromkeys(("pauses", "cut", "cut_marked", "first", "last"), 0)
    cut_by_pause = dict.fromkeys(PAUSES_S, 0)
    commits_ms: list[float] = []
    unfinished_ms: list[float] = []
    for number, spoken in enumerate(trials):
        frames = list(_frames(_room(spoken.sound, snr_db, pool, number)))
        detector = VoiceDetector(settings)
        decisions = [detector.hear(frame) for frame in frames]
        turns = _turns(frames, decisions, spoken, mark="")
        unfinished_ms += [turn.waited_ms for turn in turns if turn.is_unfinished]
        first, last = spoken.words[0], spoken.words[-1]
        counts["first"] += not _is_whole(first, turns)
        counts["last"] += not _is_whole(last, turns)
        if spoken.pause_s:
            was_cut = _is_cut(spoken, turns)
            counts["pauses"] += 1
            counts["cut"] += was_cut
            cut_by_pause[spoken.pause_s] += was_cut
            counts["cut_marked"] += _is_cut(spoken, _turns(frames, decisions, spoken, mark="."))
        else:
            over_s = [turn.over_s for turn in turns if turn.over_s > last.begin_s]
            commits_ms.append(1000 * (min([*over_s, last.end_s + BEHIND_S]) - last.end_s))
    return {
        "noise": kind,
        "snr_db": snr_db if pool is not None else "",
        "trials": len(trials),
        **counts,
        **{f"cut_{pause_s}": cut for pause_s, cut in cut_by_pause.items()},
        "unfinished_ms": min(unfinished_ms, default=""),
        "commit_p50_ms": percentile(commits_ms, 50),
        "commit_p95_ms": percentile(commits_ms, 95),
    }


def _room(speech: Sound, snr_db: int, pool: Sound | None, number: int) -> Sound:
    before, behind = int(BEFORE_S * RATE_HZ), int(BEHIND_S * RATE_HZ)
    sound = np.concatenate([np.zeros(before), speech, np.zeros(behind)])
    if pool is None:
        around, dbfs = np.random.default_rng(number).standard_normal(len(sound)), CLEAN_DBFS
    else:
        start = number * 7919 * 16 % (len(pool) - len(sound))
        around, dbfs = pool[start : start + len(sound)], SPEECH_DBFS - snr_db
        around = around / rms(around[before:-behind])
    return sound + around * 10 ** (dbfs / 20)


def _frames(sound: Sound) -> Iterator[bytes]:
    pcm = np.clip(np.rint(sound * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    for at in range(0, len(pcm) - FRAME_SAMPLES + 1, FRAME_SAMPLES):
        yield pcm[at : at + FRAME_SAMPLES].tobytes()


def _turns(frames: list[bytes], decisions: list[Decision], spoken: Spoken, mark: str) -> list[Heard]:
    """The utterances of a trial, in seconds after the speech's first sample."""
    endpointer = Endpointer(Vad())
    turns = []
    for number, (frame, decision) in enumerate([*zip(frames, decisions, strict=True), (b"", SILENT)], 1):
        for event in endpointer.feed(frame, *decision) if frame else endpointer.end():
            if isinstance(event, Paused):
                paused = event
                end_s = (event.start_sample + len(event.pcm) / 2) / RATE_HZ - BEFORE_S
                ending = reads_as(spoken.heard_until(end_s - TENTATIVE_S, mark), "en")
                endpointer.expect(event.revision, hangover_ms(ending, Vad().hangover_ms))
            elif isinstance(event, Ended):
                turns.append(_heard(paused, number, ending))
    return turns


def _heard(paused: Paused, frames: int, ending: Ending) -> Heard:
    begin_s = paused.start_sample / RATE_HZ - BEFORE_S
    over_s = frames * FRAME_MS / 1000 - BEFORE_S
    end_s = begin_s + len(paused.pcm) / 2 / RATE_HZ
    waited_ms = 1000 * (over_s + BEFORE_S - paused.speech_end_sample / RATE_HZ)
    return Heard(begin_s, end_s, over_s, waited_ms, ending is Ending.UNFINISHED)


def _is_whole(word: Word, turns: list[Heard]) -> bool:
    return any(turn.begin_s <= word.begin_s and word.end_s <= turn.end_s for turn in turns)


def _is_cut(spoken: Spoken, turns: list[Heard]) -> bool:
    first, last = spoken.words[0], spoken.words[-1]
    return any(first.end_s < turn.over_s <= last.begin_s for turn in turns)


# ---------------------------------------------------------------- noise alone


def _alone(settings: Vad, kind: str, dbfs: int, minutes: float) -> dict[str, object]:
    recogniser = WhisperEngine(TESTS / "models" / "whisper-tiny-test", Stt(threads=1))
    frames = list(_frames(noise(kind, 60 * minutes, seed=1) * 10 ** (dbfs / 20)))
    began_s = time.process_time()
    detector = VoiceDetector(settings)
    decisions = [detector.hear(frame) for frame in frames]
    took_s = time.process_time() - began_s
    endpointer = Endpointer(Vad())
    events = [
        event
        for frame, decision in zip(frames, decisions, strict=True)
        for event in endpointer.feed(frame, *decision)
    ]
    paused: Paused | None = None
    utterances = answered = 0
    for event in events:
        if isinstance(event, Paused):
            paused = event
        elif isinstance(event, Ended) and paused is not None:
            utterances += 1
            pcm = np.frombuffer(paused.pcm, np.int16)
            answered += bool(recogniser.transcribe(pcm, paused.voiced_ms, lambda: False).text)
    return {
        "noise": kind,
        "dbfs": dbfs,
        "minutes": minutes,
        "voiced_percent": 100 * sum(decision.voiced for decision in decisions) / len(decisions),
        "began": sum(isinstance(event, Started) for event in events),
        "utterances": utterances,
        "answered": answered,
        "frame_us": 1e6 * took_s / len(frames),
    }


def _plots() -> ModuleType:
    """What draws; ends the program with a sentence where it is not installed."""
    try:
        import matplotlib as mpl
    except ModuleNotFoundError:
        raise SystemExit("matplotlib draws the picture; `./install.sh test` installs it.") from None
    mpl.use("agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _plot(rows: list[dict[str, object]], alone: list[dict[str, object]], file: Path) -> None:
    """Commit times and cut pauses by condition, and false alarms by noise and level."""
    figure, (commits, cuts, alarms) = _plots().subplots(3, 1, figsize=(11, 11), layout="constrained")
    conditions = [f"{row['noise']} {row['snr_db']}" for row in rows]
    for key, colour in (("commit_p95_ms", "#9fc5e8"), ("commit_p50_ms", "#1f5f99")):
        commits.bar(conditions, [float(str(row[key])) for row in rows], color=colour, label=key)
    commits.axhline(300, color="#c00000", linewidth=1, label="goal for p50")
    commits.set_ylabel("end of turn, ms after the last word")
    for key, colour in (
        ("cut_marked", "#f4cccc"),
        ("cut", "#c00000"),
        ("last", "#777777"),
        ("first", "#222222"),
    ):
        of = "pauses" if "cut" in key else "trials"
        shares = [100 * float(str(row[key])) / float(str(row[of])) for row in rows]
        if "cut" in key:
            cuts.bar(conditions, shares, color=colour, label=f"{key}, % of {of}")
        else:
            cuts.plot(conditions, shares, ".", color=colour, label=f"{key} clipped, % of {of}")
    cuts.axhline(2, color="#c00000", linewidth=1)
    names = [f"{row['noise']} {row['dbfs']}" for row in alone]
    for key, colour in (("began", "#d9d9d9"), ("utterances", "#7f7f7f"), ("answered", "#c00000")):
        alarms.bar(names, [float(str(row[key])) for row in alone], color=colour, label=key)
    alarms.set_ylabel(f"in {alone[0]['minutes']} minutes")
    for axes in (commits, cuts, alarms):
        axes.tick_params(axis="x", rotation=60)
        axes.legend()
    figure.savefig(file, dpi=100)
    print(f"plot: {file}")


if __name__ == "__main__":
    main()
