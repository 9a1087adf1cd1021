"""Training batches: clips from the shards, mixed in the mel-power domain as a microphone might hear them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import sentences
from .network import PHONEMES
from .shards import FIXED
from .tokenizer import TEXT_TOKENS

BATCH_FRAMES = 10000
_POOL = 700  # clips sorted by length together
_FLOOR = -10.0  # log10 of the power of silence
_LOG2_10 = 3.3219  # for adding powers with logaddexp2
#: targets that are not learned; targets where non-speech is to leave all text unlikely
IGNORE, FLAT = -100, -200

Mel = npt.NDArray[np.float32]


@dataclass
class Mix:
    """Shares of the clips, but where it says otherwise; they change in the course of training."""

    recombined: float = 0.6  # of sentences that are not the domain's
    masked: float = 0.35  # with SpecAugment
    full_window: float = 0.25  # of the batches: in a window of 30 s
    corrupt: float = 0.0  # of the decoder's inputs: replaced at random
    long: float = 0.0  # of clips from those over 4.2 s only


class Segment(NamedTuple):
    start: int  # mel frame
    end: int
    text: str


class Clip(NamedTuple):
    mel: Mel  # log10 power [T, 80]
    segments: list[Segment]
    phonemes: npt.NDArray[np.int64]  # of every frame


class Batch(NamedTuple):
    mel: Tensor  # [B, 80, T]
    tokens: Tensor  # [B, N]
    targets: Tensor  # [B, N], or IGNORE or FLAT
    phonemes: Tensor  # [B, T / 2]
    centres: Tensor  # [B, N] about which position a token is heard at, -1 for none
    window: int  # mel frames
    offset: int  # of the padding that is computed


def _add_power(x: Mel, y: Mel) -> Mel:
    return np.asarray(np.logaddexp2(x * _LOG2_10, y * _LOG2_10) / _LOG2_10, np.float32)


class Batches:
    def __init__(self, folder: Path, tok: Tokenizer, seed: int, shards: int, mix: Mix) -> None:
        self.mix = mix
        self._rng = np.random.default_rng(seed)
        self._tok = tok
        with np.load(folder / "noise.npz") as z:
            self._noise, kinds = z["mel"], z["kind"]
        self._not_babble = np.flatnonzero(kinds != "babble")
        self._read(folder, shards)
        ids = tok.get_vocab()
        self._characters = {i: len(token) for token, i in ids.items()}
        self._end, self._start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
        self._earlier, self._nospeech = ids["<|startofprev|>"], ids["<|nospeech|>"]
        self._no_times, self._time_zero = ids["<|notimestamps|>"], ids["<|0.00|>"]

    def _read(self, folder: Path, shards: int) -> None:
        self._mels: list[npt.NDArray[np.float16]] = []
        self._texts: list[str] = []
        labels: list[tuple[list[str], list[npt.NDArray[np.uint8]]]] = []
        counts: Counter[str] = Counter()
        for number, path in enumerate(sorted(folder.glob("shard*.npz"))[:shards]):
            with np.load(path) as z:
                self._mels += np.split(z["mel"], np.cumsum(z["n"])[:-1])
                self._texts += [str(text) for text in z["text"]]
            with np.load(path.with_name(path.name.replace("shard", "align"))) as z:
                names = [str(name) for name in z["names"]]
                labels.append((names, np.split(z["lab"], np.cumsum(z["n"])[:-1])))
                if number < FIXED:  # the numbers of the classes stay when shards are added
                    for name, count in zip(names, np.bincount(z["lab"], minlength=len(names)), strict=True):
                        counts[name] += int(count)
        common = [name for name, _ in counts.most_common(PHONEMES - 1) if name != "_"][: PHONEMES - 2]
        classes = {"_": 0, **{name: i + 1 for i, name in enumerate(common)}}
        self._phonemes: list[npt.NDArray[np.int64]] = []
        for names, clips in labels:
            table = np.array([classes.get(name, PHONEMES - 1) for name in names])
            self._phonemes += [table[clip] for clip in clips]
        fixed = set(sentences.domain_sentences() + sentences.commands())
        new = np.array([t not in fixed and not t.startswith("Hey Jarvis,") for t in self._texts])
        self._fixed, self._recombined = np.flatnonzero(~new), np.flatnonzero(new)
        self._long = np.flatnonzero([len(mel) > 420 for mel in self._mels])

    def _some_noise(self, frames: int) -> Mel:
        clip = self._noise[self._not_babble[self._rng.integers(len(self._not_babble))]]
        at = int(self._rng.integers(0, len(clip) - frames))
        return np.asarray(
            clip[at : at + frames].astype(np.float32) + self._rng.uniform(-6.5, 1.0), np.float32
        )

    def _nonspeech(self) -> Clip:
        r = self._rng
        n = int(r.uniform(20, 500))
        kind = r.random()
        if kind < 0.15:
            x = np.full((n, 80), _FLOOR, np.float32)
        else:
            x = self._some_noise(n)
            if kind < 0.5:
                x = _add_power(x, self._some_noise(n))
            if r.random() < 0.3:  # begins or ends in silence
                at = int(r.uniform(0.1, 0.9) * n)
                x[slice(None, at) if r.random() < 0.5 else slice(at, None)] = _FLOOR
        return Clip(x, [], np.zeros(n, np.int64))

    def clip(self) -> Clip:
        """Noise, or one or two sentences with silence around and noise over all of it."""
        r = self._rng
        if r.random() < 0.08:
            return self._nonspeech()
        parts: list[Mel] = []
        phonemes: list[npt.NDArray[np.int64]] = []
        segments: list[Segment] = []
        t, cut_off = 0, 0
        for j in range(1 if r.random() > 0.06 else 2):
            pool = self._recombined if r.random() < self.mix.recombined else self._fixed
            if self.mix.long and r.random() < self.mix.long:
                pool = self._long
            i = int(pool[r.integers(len(pool))])
            mel = self._mels[i]
            if j and t + len(mel) > 900:
                break
            lead = 0 if r.random() < 0.25 else int(r.uniform(0, 100 if r.random() < 0.5 else 30))
            cut_on = cut_off = 0
            cut = r.random()
            if cut < 0.06:
                cut_on = int(min(r.uniform(0, 10), len(mel) * 0.08))
            elif cut < 0.2:
                cut_off = int(min(r.uniform(5, 30), len(mel) * 0.15))
            kept = slice(cut_on, len(mel) - cut_off)
            heard = np.repeat(self._phonemes[i], 2)[kept]
            level = np.float32(r.uniform(-2.2, 0.2) if r.random() < 0.6 else 0)
            speech = mel[kept].astype(np.float32) + level
            parts += [np.full((lead, 80), _FLOOR, np.float32), speech]
            phonemes += [np.zeros(lead, np.int64), heard]
            segments.append(Segment(t + lead, t + lead + len(speech), self._texts[i]))
            t += lead + len(speech)
        trail = 0 if (cut_off or r.random() < 0.2) else int(r.uniform(0, 100))
        parts.append(np.full((trail, 80), _FLOOR, np.float32))
        phonemes.append(np.zeros(trail, np.int64))
        x = np.concatenate(parts)
        noisy = r.random()
        if noisy < 0.65:
            snr_db = r.uniform(8, 25) if noisy < 0.2 else r.uniform(20, 60)
            x = self._with_noise(x, segments[0], snr_db)
        return Clip(x, segments, np.concatenate(phonemes))

    def _with_noise(self, x: Mel, speech: Segment, snr_db: float) -> Mel:
        clip = self._noise[self._rng.integers(len(self._noise))]
        at = int(self._rng.integers(0, max(1, len(clip) - len(x))))
        y = clip[at : at + len(x)].astype(np.float32)
        y = np.concatenate([y] * (len(x) // len(y) + 1))[: len(x)]
        level = np.log10((10 ** x[speech.start : speech.end]).mean()) - np.log10((10**y).mean())
        return _add_power(x, y + level - snr_db / 10)

    def _finish(self, x: Mel) -> Mel:
        """Whisper's clamp and scaling, and sometimes SpecAugment: two bands and two moments masked."""
        x = np.maximum(x, _FLOOR)
        x = (np.maximum(x, x.max() - 8.0) + 4.0) / 4.0
        r = self._rng
        if r.random() < self.mix.masked:
            for _ in range(2):
                width = int(r.integers(0, 11))
                at = int(r.integers(0, 80 - width))
                x[:, at : at + width] = x.min() if r.random() < 0.5 else x.mean()
            for _ in range(2):
                width = int(r.integers(0, min(16, max(2, len(x) // 12))))
                at = int(r.integers(0, max(1, len(x) - width)))
                x[at : at + width] = x.min()
        return x

    def _encode(self, text: str) -> list[int]:
        return list(self._tok.encode(" " + text, add_special_tokens=False).ids)

    def _centres(self, ids: list[int], segment: Segment) -> list[float]:
        """About which 20 ms position each token is spoken at, by its share of the characters."""
        n = np.array([self._characters[i] for i in ids], float)
        share = (np.cumsum(n) - n / 2) / n.sum()
        return [float(c) for c in (segment.start + share * (segment.end - segment.start)) / 2]

    def _labels(self, segments: list[Segment]) -> tuple[list[int], list[int], list[float]]:
        """Tokens, targets and centres; with earlier text, time stamps or neither, as faster-whisper asks."""
        r = self._rng
        head: list[int] = []
        if r.random() < 0.06:
            head = [self._earlier, *self._encode(self._texts[int(r.integers(len(self._texts)))])[:60]]
        tokens, centres = [self._start], list[float]()
        if not segments:
            second = self._no_times if r.random() < 0.6 else self._time_zero
            tokens += [second, int(r.integers(256, TEXT_TOKENS))]
            targets, centres = [self._nospeech, FLAT, self._end], [-1.0] * 3
        else:
            times = r.random() >= 0.75
            if not times:
                tokens, centres = [self._start, self._no_times], [-1.0]
            for segment in segments:
                ids = self._encode(segment.text)
                if times:
                    begin, end = (min(1500, round(frame / 2)) for frame in (segment.start, segment.end))
                    if segment is segments[0]:
                        begin = min(begin, 50)  # Whisper's first may be 1.00 s at most
                    tokens += [self._time_zero + begin, *ids, self._time_zero + end]
                    centres += [segment.start / 2, *self._centres(ids, segment), segment.end / 2]
                else:
                    tokens += ids
                    centres += self._centres(ids, segment)
            targets, centres = [*tokens[1:], self._end], [*centres, segments[-1].end / 2]
        n = len(head)
        return head + tokens, [IGNORE] * n + targets, [-1.0] * n + centres

    def collate(self, clips: list[Clip]) -> Batch:
        t = max(len(clip.mel) for clip in clips) + 18
        t += t % 2
        labels = [self._labels(clip.segments) for clip in clips]
        n = max(len(tokens) for tokens, _, _ in labels)
        mel = np.zeros((len(clips), 80, t), np.float32)
        all_centres = np.full((len(clips), n), -1, np.float32)
        all_tokens, all_targets = np.full((len(clips), n), self._end), np.full((len(clips), n), IGNORE)
        phonemes = np.zeros((len(clips), t // 2), np.int64)
        for i, (clip, (tokens, targets, centres)) in enumerate(zip(clips, labels, strict=True)):
            mel[i, :, : len(clip.mel)] = self._finish(clip.mel).T
            all_tokens[i, : len(tokens)], all_targets[i, : len(targets)] = tokens, targets
            all_centres[i, : len(centres)] = centres
            phonemes[i, : (len(clip.phonemes) + 1) // 2] = clip.phonemes[::2]
        r = self._rng
        if self.mix.corrupt:  # wrong earlier words now and then: listen, do not guess
            hit = (r.random(all_tokens.shape) < self.mix.corrupt) & (all_tokens < TEXT_TOKENS)
            all_tokens[hit] = r.integers(256, TEXT_TOKENS, int(hit.sum()))
        which = r.random()
        window = 0  # no more than there is
        if which < self.mix.full_window:
            window = 3000
        elif which <= self.mix.full_window + 0.2:
            window = int(r.choice([600, 800, 1000, 1500]))
        if window < 3000 and window <= t:
            window = 0
        return Batch(
            torch.from_numpy(mel),
            torch.from_numpy(all_tokens),
            torch.from_numpy(all_targets),
            torch.from_numpy(phonemes),
            torch.from_numpy(all_centres),
            window,
            int(r.integers(8)),
        )

    def __iter__(self) -> Iterator[Batch]:
        """Endless batches of clips of like length."""
        while True:
            pool = sorted((self.clip() for _ in range(_POOL)), key=lambda clip: len(clip.mel))
            groups, group = [], list[Clip]()
            for clip in pool:
                group.append(clip)
                if (len(group) + 1) * (len(clip.mel) + 20) > BATCH_FRAMES:
                    groups.append(group)
                    group = []
            self._rng.shuffle(groups)
            for group in groups:
                yield self.collate(group)
