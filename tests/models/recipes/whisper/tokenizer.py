"""A small byte-level BPE laid out as Whisper's English-only vocabulary: text, specials, 1501 time stamps.

The recogniser is trained with the kept one; `python -m recipes.whisper.tokenizer` makes it anew.
"""

from __future__ import annotations

import argparse
import string
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from .sentences import commands, domain_sentences, recombinations

#: the one of the shipped model; `train` gives the same with the same version of tokenizers
KEPT = Path(__file__).resolve().parents[2] / "whisper-tiny-test" / "tokenizer.json"
TEXT_TOKENS = 720
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMES = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def load(path: Path = KEPT) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def train() -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    texts = domain_sentences() + commands() + recombinations(2000, 1)
    # Every printable character gets its own token with a space before it, as in Whisper's vocabulary: else a
    # word might start with the bare space, which faster-whisper suppresses there.
    letters = "".join(f" {c}" for c in string.ascii_letters + string.digits)
    marks = "".join(f" {c}" for c in string.punctuation) + " \u266a \u300c"
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        special_tokens=[],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tok.train_from_iterator([" " + text for text in texts] + [letters + marks] * 4000, trainer)
    if tok.get_vocab_size() != TEXT_TOKENS:
        raise SystemExit(f"{tok.get_vocab_size()} tokens were found instead of {TEXT_TOKENS}")
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL + TIMES])
    return tok


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    tok = train()
    tok.save(str(args.out))
    same = "the same as" if tok.to_str() == load().to_str() else "not the same as"
    print(f"{args.out}: {same} the kept one")


if __name__ == "__main__":
    main()
