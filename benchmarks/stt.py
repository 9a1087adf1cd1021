"""The recogniser against `WhisperModel.transcribe` of faster-whisper with its defaults, on the same weights.

    python -m benchmarks.stt [--threads 2] [--rounds 7]

Both take turns in one process, so that a busy machine slows both.  The ratios are medians of the rounds' own;
that of the processor's time holds even where other work runs beside it.  `words` is the share of words that
both read alike, `right` of those that were said.  Goal: 3 s of speech in a quarter of the time, on the
inflated model, which has whisper-tiny.en's shape.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the worker; read when numpy is imported

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel

from assistant.audio.files import blocks
from assistant.audio.formats import RATE_HZ
from assistant.config import Stt
from assistant.engines.whisper import FULL_SCALE, WhisperEngine
from benchmarks.report import percentile, report

TESTS = Path(__file__).parent.parent / "tests"
AUDIO = TESTS / "audio"
MODELS = {
    "tiny": TESTS / "models" / "whisper-tiny-test",
    "inflated tiny.en": TESTS / "models" / "recipes" / "build" / "inflated" / "whisper-inflated-tiny.en",
}
SPOKEN = {1: ["q23"], 2: ["q21"], 3: ["q15"], 5: ["q00", "q10"], 10: ["q02", "q18"]}
"""By seconds: what is said in them; the rest is silence."""

Pcm = npt.NDArray[np.int16]


class Timing(NamedTuple):
    wall_s: float
    cpu_s: float
    text: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with (AUDIO / "expected.tsv").open(encoding="utf-8") as table:
        texts = {row["file"][:3]: row["text"] for row in csv.DictReader(table, delimiter="\t")}
    rows = []
    for name, folder in MODELS.items():
        if not folder.is_dir():
            print(f"{folder} is not there: tests/models/recipes/build.sh inflate-whisper makes it")
            continue
        rows += list(_rows(name, folder, options.threads, options.rounds, texts))
    report("stt", rows)


def _rows(
    name: str, folder: Path, threads: int, rounds: int, texts: dict[str, str]
) -> Iterator[dict[str, object]]:
    ours = WhisperEngine(folder, Stt(threads=threads))
    theirs = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
    engines = (lambda pcm: _ours(ours, pcm), lambda pcm: _theirs(theirs, pcm))
    for duration_s, said in SPOKEN.items():
        pcm = _padded([_speech(recording) for recording in said], duration_s)
        text = " ".join(texts[recording] for recording in said)
        yield _row(name, f"{duration_s} s", [_pair(engines, pcm) for _ in range(rounds + 1)][1:], [text])
    pairs = [_pair(engines, np.concatenate(list(blocks(AUDIO / f"{recording}.wav")))) for recording in texts]
    yield _row(name, f"{len(texts)} recordings", pairs, list(texts.values()))


def _row(name: str, what: str, pairs: list[tuple[Timing, Timing]], texts: list[str]) -> dict[str, object]:
    """Of timings of ours and theirs; `texts` is what was said, once or for each pair."""
    said = " ".join(texts)
    our_text, their_text = (" ".join(pair[who].text for pair in pairs[-len(texts) :]) for who in (0, 1))
    return {
        "model": name,
        "speech": what,
        "transcribe_p50_ms": 1000 * percentile([theirs.wall_s for _, theirs in pairs], 50),
        "ours_p50_ms": 1000 * percentile([ours.wall_s for ours, _ in pairs], 50),
        "ratio": statistics.median(ours.wall_s / theirs.wall_s for ours, theirs in pairs),
        "cpu_ratio": statistics.median(ours.cpu_s / theirs.cpu_s for ours, theirs in pairs),
        "words": _alike(our_text, their_text),
        "right": _alike(our_text, said),
        "transcribe_right": _alike(their_text, said),
    }


def _pair(engines: tuple[Callable[[Pcm], str], Callable[[Pcm], str]], pcm: Pcm) -> tuple[Timing, Timing]:
    ours, theirs = (_timed(engine, pcm) for engine in engines)
    return ours, theirs


def _timed(engine: Callable[[Pcm], str], pcm: Pcm) -> Timing:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    text = engine(pcm)
    return Timing(time.perf_counter() - wall_s, time.process_time() - cpu_s, text)


def _ours(engine: WhisperEngine, pcm: Pcm) -> str:
    return engine.transcribe(pcm, 1000 * len(pcm) // RATE_HZ, lambda: False).text


def _theirs(model: WhisperModel, pcm: Pcm) -> str:
    segments, _ = model.transcribe(np.divide(pcm, FULL_SCALE, dtype=np.float32))
    return "".join(segment.text for segment in segments).strip()


def _speech(recording: str) -> Pcm:
    """Without the silence around it."""
    pcm = np.concatenate(list(blocks(AUDIO / f"{recording}.wav")))
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 0.02 * FULL_SCALE)
    return pcm[loud[0] : loud[-1]]


def _padded(pieces: list[Pcm], duration_s: int) -> Pcm:
    """Every piece at the start of its share of `duration_s`, behind a tenth of a second."""
    pcm = np.zeros(duration_s * RATE_HZ, np.int16)
    for i, piece in enumerate(pieces):
        start = i * len(pcm) // len(pieces) + RATE_HZ // 10
        pcm[start : start + len(piece)] = piece
    return pcm


def _alike(text: str, other: str) -> float:
    return difflib.SequenceMatcher(None, text.split(), other.split(), autojunk=False).ratio()


if __name__ == "__main__":
    main()
