"""From the last sample of speech to the first audible one of the answer, beside a plain chain of the stages.

    python -m benchmarks.voice_to_voice [--config FILE] [--rounds N] [--picture FILE.svg]

The recordings in tests/audio are asked in blocks, each a conversation: first of the plain chain, in this
process, then of the whole appliance, in real time, so that a machine's slow minute hits both and neither
works while the other does.  Both ends of the time are looked for in the sound itself.  Of the plain chain,
which speaks to nobody, the time is that of the hangover and of its work; nothing is added for a speaker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.plain_chain import ENVIRONMENT, Answered, PlainChain  # before numpy, whose threads it sets

# isort: split
import numpy as np

from assistant.audio.files import blocks, write_wav
from assistant.audio.formats import FRAME_MS, RATE_HZ
from assistant.config import load
from benchmarks.report import percentile, report
from benchmarks.turns import Pcm, Turn, by_turn, loud, nearest, speech_end_s, turn_of
from benchmarks.waterfall import fast_lines, plain_lines, svg

TESTS = Path(__file__).parent.parent / "tests"
INFLATED = TESTS / "models" / "recipes" / "build" / "inflated"
CONFIG = f"""\
[vad]
hangover_ms = 500
[stt]
model = "{INFLATED}/whisper-inflated-tiny.en"
threads = 2
[llm]
model = "{INFLATED}/tiny-chat-1.1b-q4_k_m.gguf"
threads = 2
temperature = 0
[tts]
model = "{INFLATED}/en_US-inflated-medium.onnx"
threads = 2
"""
TAKES = "A round takes about 4 minutes."
BLOCK = 6
SILENCE_S = 3.5
"""Behind each question: its answer is over before the next one begins."""


class Block(NamedTuple):
    """A recording of several questions; `ends_s` is when the speech of each truly ends."""

    names: list[str]
    pcm: Pcm
    ends_s: list[float]


class Pair(NamedTuple):
    """One question, asked of both.  `audible_ms` is when its answer's sound begins, `zero_s` its true end."""

    name: str
    zero_s: float
    plain: Answered
    fast: Turn
    audible_ms: float

    @property
    def plain_ms(self) -> float:
        return 1000 * (self.plain.first_sound_s - self.zero_s)

    @property
    def is_early(self) -> bool:
        """Whether work began before it was sure that the turn had ended."""
        return self.fast.pause_ms < self.fast.end_of_turn_ms - FRAME_MS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=TAKES)
    parser.add_argument(
        "--config", type=Path, help="of other models; those of the real shapes are the default"
    )
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="times that everything is asked")
    parser.add_argument("--questions", type=int, metavar="N", help="ask the first N recordings alone")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the waterfall")
    options = parser.parse_args()
    if options.config is None and not INFLATED.is_dir():
        sys.exit(f"{INFLATED} is not there: tests/models/recipes/build.sh inflate makes it")
    recordings = sorted(TESTS.glob("audio/q*.wav"))[: options.questions]
    with tempfile.TemporaryDirectory() as folder:
        config = options.config or Path(folder) / "config.toml"
        if options.config is None:
            config.write_text(CONFIG, encoding="utf-8")
        plain = PlainChain(load(config))
        pairs = [
            pair
            for _ in range(options.rounds)
            for at in range(0, len(recordings), BLOCK)
            for pair in _ask_both(_block(recordings[at : at + BLOCK]), plain, config, Path(folder))
        ]
        hangover_ms = load(config).vad.hangover_ms
    asked = options.rounds * len(recordings)
    if not pairs:
        sys.exit(
            f"None of {asked} questions was answered by both; `assistant run` with the same files shows why"
        )
    print("milliseconds after the last sample of speech")
    report("voice_to_voice_turns", [_turn_row(pair) for pair in pairs])
    print(f"\n{len(pairs)} of {asked} questions were answered by both")
    report("voice_to_voice", _rows(pairs, hangover_ms))
    if options.picture:
        options.picture.write_text(_picture(pairs), encoding="utf-8")


def _block(recordings: Sequence[Path]) -> Block:
    parts, ends_s, at = [], [], 0
    for file in recordings:
        said = np.concatenate(list(blocks(file)))
        ends_s.append((at + int(loud(said)[-1]) + 1) / RATE_HZ)
        parts += [said, np.zeros(int(SILENCE_S * RATE_HZ), np.int16)]
        at += len(parts[-2]) + len(parts[-1])
    return Block([file.stem for file in recordings], np.concatenate(parts), ends_s)


def _ask_both(block: Block, plain: PlainChain, config: Path, folder: Path) -> list[Pair]:
    """The questions of `block` that both answered."""
    answered = list(plain.converse(block.pcm))
    microphone, speaker = folder / "questions.wav", folder / "answers.wav"
    write_wav(microphone, block.pcm, RATE_HZ)
    command = [sys.executable, "-m", "assistant", "--config", str(config), "run", "--json"]
    command += ["--mic", str(microphone), "--speaker", str(speaker)]
    own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    output = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True, check=True).stdout
    since_s, turns = by_turn(output.splitlines())
    with wave.open(str(speaker)) as file:
        rate_hz = file.getframerate()
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    audible = loud(sound)
    pairs = []
    for name, zero_s in zip(block.names, block.ends_s, strict=True):
        theirs = nearest([turn.speech_end_s for turn in answered], zero_s)
        ours = nearest([speech_end_s(events) - since_s for events in turns], zero_s)
        if theirs is None or ours is None:
            continue
        turn = turn_of(name, turns[ours], since_s + zero_s)
        if turn is not None:
            decided = int((zero_s + turn.end_of_turn_ms / 1000) * rate_hz)
            heard = audible[np.searchsorted(audible, decided)]
            pairs.append(Pair(name, zero_s, answered[theirs], turn, 1000 * (float(heard) / rate_hz - zero_s)))
    return pairs


def _turn_row(pair: Pair) -> dict[str, object]:
    turn = pair.fast
    stt, llm, tts = map(turn.work, ("stt", "llm", "tts"))
    return {
        "recording": pair.name,
        "plain": pair.plain_ms,
        "fast": pair.audible_ms,
        "late": turn.speech_end_ms,
        "pause": turn.pause_ms,
        "transcript": stt.ended_ms,
        "first_token": llm.first_ms,
        "first_sentence": turn.handed_ms,
        "sound_made": tts.first_ms,
        "end_of_turn": turn.end_of_turn_ms,
        "first_sound": turn.first_sound_ms,
        "done": turn.done_ms,
        "misses": turn.revision,
        "wasted": turn.wasted_ms,
    }


def _rows(pairs: Sequence[Pair], hangover_ms: float) -> list[dict[str, object]]:
    """A row for each figure: percentiles of both chains, and the ratio of the medians."""

    def row(
        figure: str,
        fast: Callable[[Pair], float],
        plain: Callable[[Pair], float] | None = None,
        is_count: bool = False,
    ) -> dict[str, object]:
        ours = [fast(pair) for pair in pairs]
        theirs = [plain(pair) for pair in pairs] if plain else []
        return {
            "figure": figure,
            "plain_p50": percentile(theirs, 50) if theirs else "",
            "plain_p95": percentile(theirs, 95) if theirs else "",
            "fast_p50": percentile(ours, 50),
            "fast_p95": percentile(ours, 95),
            "fast_sum": sum(ours) if is_count else "",
            "ratio": percentile(ours, 50) / percentile(theirs, 50) if theirs else "",
        }

    return [
        row("voice to voice, ms", lambda pair: pair.audible_ms, lambda pair: pair.plain_ms),
        row(
            "without the hangover, ms",
            lambda pair: pair.audible_ms - hangover_ms,
            lambda pair: pair.plain_ms - hangover_ms,
        ),
        row(
            "endpointer late, ms",
            lambda pair: pair.fast.speech_end_ms,
            lambda pair: 1000 * (pair.plain.speech_end_s - pair.zero_s),
        ),
        row("end of turn, ms", lambda pair: pair.fast.end_of_turn_ms),
        row("decided to sound, ms", lambda pair: pair.fast.decided_to_sound_ms),
        row("not engine time, ms", lambda pair: pair.fast.not_engine_ms),
        row("first_sound event late, ms", lambda pair: pair.fast.first_sound_ms - pair.audible_ms),
        row("early work: hits", lambda pair: int(pair.is_early), is_count=True),
        row("early work: misses", lambda pair: pair.fast.revision, is_count=True),
        row("engine time wasted, ms", lambda pair: pair.fast.wasted_ms, is_count=True),
        row("gaps", lambda pair: len(pair.fast.gaps_ms), is_count=True),
        row("gaps, ms", lambda pair: sum(pair.fast.gaps_ms), is_count=True),
    ]


def _picture(pairs: Sequence[Pair]) -> str:
    """The turn of the median voice-to-voice time in detail, all turns small."""
    middle = statistics.median_low(pair.audible_ms for pair in pairs)
    median = next(pair for pair in pairs if pair.audible_ms == middle)
    plain = [plain_lines(pair.name, pair.plain, pair.zero_s) for pair in pairs]
    details = [
        (f"The assistant: {median.name}, the median turn", fast_lines(median.fast)),
        (f"A plain chain: {median.name}", plain_lines(median.name, median.plain, median.zero_s)),
    ]
    return svg(
        details,
        [("The assistant: all turns", [fast_lines(pair.fast) for pair in pairs]), ("A plain chain", plain)],
    )


if __name__ == "__main__":
    main()
