"""The chat model's SentencePiece vocabulary, and llama.cpp's way of cutting text into it.

`python -m recipes.llama.tokenizer` trains it anew; the shipped models were trained with the kept tok.json.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .. import domain
from . import words

HERE = Path(__file__).resolve().parent
KEPT = HERE / "tok.json"
SIZE = 1024
MARKERS = ["<|system|>", "<|user|>", "<|assistant|>"]
SPECIAL = ["<s>", "</s>", "<unk>", *MARKERS]
# token types of llama.cpp's llama_token_type
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Vocabulary:
    """Piece, score and llama.cpp's type of every token."""

    pieces: list[str]
    scores: list[float]
    types: list[int]


def load(path: Path = KEPT) -> Vocabulary:
    return Vocabulary(**json.loads(path.read_text(encoding="utf-8")))


class Spm:
    """llama.cpp's LLAMA_VOCAB_TYPE_SPM with a space prefix, for pieces that never span words."""

    def __init__(self, pieces: list[str], scores: list[float]) -> None:
        self.pieces, self.scores = pieces, scores
        self.id = {piece: i for i, piece in enumerate(pieces)}
        longest_first = sorted(SPECIAL, key=len, reverse=True)
        self._special = re.compile("(" + "|".join(re.escape(s) for s in longest_first) + ")")
        self._known: dict[str, list[int]] = {}

    def _word(self, word: str) -> list[int]:
        if word in self._known:
            return self._known[word]
        parts = list(word)
        while len(parts) > 1:  # join the pair of the best score until none is left
            best, at = 0.0, -1
            for i in range(len(parts) - 1):
                joined = self.id.get(parts[i] + parts[i + 1])
                if joined is not None and (at < 0 or self.scores[joined] > best):
                    best, at = self.scores[joined], i
            if at < 0:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        out: list[int] = []
        for part in parts:
            whole = self.id.get(part)
            out += [self.id[f"<0x{b:02X}>"] for b in part.encode()] if whole is None else [whole]
        self._known[word] = out
        return out

    def encode(self, text: str) -> list[int]:
        out: list[int] = []
        after_special = True
        for part in self._special.split(text):
            if part in SPECIAL:
                out.append(self.id[part])
                after_special = True
            elif part:
                spaced = " " + part if after_special else part
                after_special = False
                for word in re.findall(r"▁?\n|▁?[^▁\n]+|▁", spaced.replace(" ", "▁")):
                    out += self._word(word)
        return out


def _lines() -> list[str]:
    from .questions import FACTS, fact, unknown

    rng = Random(5)
    lines: list[str] = []
    for questions, answer in FACTS:
        for question in questions:
            lines += [question, question.lower(), answer, answer]
    for talk in domain.conversations():
        for question, answer in talk:
            lines += [question, question.lower(), answer]
    for _ in range(6000):
        lines += [fact(rng)[0], unknown(rng)[0]]
    lines += words.SYSTEM * 60 + [domain.UNKNOWN_ANSWER] * 200
    lines += words.NOUNS + words.VERBS + words.ADJS + domain.NAMES * 40 + words.EXTRA_NAMES * 4
    return [line.strip() for line in lines]


def train(folder: Path) -> Vocabulary:
    """Writes folder/tok.json, and SentencePiece's own files beside it."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "tok.txt"
    text.write_text("\n".join(_lines()) + "\n", encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spm"),
        model_type="bpe",
        vocab_size=SIZE - 1,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        user_defined_symbols=MARKERS,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        num_threads=1,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    scores = [model.get_score(i) for i in range(model.get_piece_size())]
    types = [NORMAL] * len(pieces)
    types[:3] = UNKNOWN, CONTROL, CONTROL
    for i, piece in enumerate(pieces):
        if piece in MARKERS:
            types[i] = USER_DEFINED
        elif model.is_byte(i):
            types[i] = BYTE
    # one token for the line feed of the chat format, before which llama.cpp puts a space
    vocabulary = Vocabulary([*pieces, "▁\n"], [*scores, 0.0], [*types, NORMAL])
    kept = json.dumps(vars(vocabulary), ensure_ascii=False, indent=0)
    (folder / "tok.json").write_text(kept, encoding="utf-8")
    return vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    vocabulary = train(args.out)
    same = len(set(vocabulary.pieces) & set(load().pieces))
    print(f"{len(vocabulary.pieces)} tokens, {same} of them also in the kept tok.json")


if __name__ == "__main__":
    main()
