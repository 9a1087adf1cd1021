"""Whisper weights, named as OpenAI's, as a CTranslate2 directory for faster-whisper.

`python -m recipes.whisper.ct2 --out FOLDER` makes the shipped model (int8) from the kept master.safetensors.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ctranslate2.converters import utils
from ctranslate2.specs import common_spec
from ctranslate2.specs.whisper_spec import WhisperSpec
from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
MASTER = HERE / "master.safetensors"
TOKENIZER = HERE.parents[1] / "whisper-tiny-test" / "tokenizer.json"
HEAD_DIM = 64

Weights = dict[str, npt.NDArray[np.float32]]

_PREPROCESSOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "WhisperProcessor",
    "return_attention_mask": False,
    "sampling_rate": 16000,
}


def load(path: Path) -> Weights:
    return {k: v.astype(np.float32) for k, v in load_file(str(path)).items()}


def layers(weights: Weights, part: str) -> int:
    return 1 + max(int(k.split(".")[2]) for k in weights if k.startswith(f"{part}.blocks."))


def spec_of(w: Weights) -> WhisperSpec:
    def linear(spec: Any, name: str, *, bias: bool = True) -> None:
        spec.weight = w[f"{name}.weight"]
        if bias:
            spec.bias = w[f"{name}.bias"]

    def norm(spec: Any, name: str) -> None:
        spec.gamma, spec.beta = w[f"{name}.weight"], w[f"{name}.bias"]

    def attention(spec: Any, name: str, *, cross: bool) -> None:
        q, k, v = (common_spec.LinearSpec() for _ in range(3))
        linear(q, f"{name}.query")
        linear(k, f"{name}.key", bias=False)
        linear(v, f"{name}.value")
        if cross:
            utils.fuse_linear(spec.linear[0], [q])
            utils.fuse_linear(spec.linear[1], [k, v])
        else:
            utils.fuse_linear(spec.linear[0], [q, k, v])
        linear(spec.linear[-1], f"{name}.out")
        norm(spec.layer_norm, f"{name}_ln")

    heads = len(w["decoder.ln.weight"]) // HEAD_DIM
    spec = WhisperSpec(layers(w, "encoder"), heads, layers(w, "decoder"), heads)
    encoder, decoder = spec.encoder, spec.decoder
    linear(encoder.conv1, "encoder.conv1")
    linear(encoder.conv2, "encoder.conv2")
    encoder.position_encodings.encodings = w["encoder.positional_embedding"]
    decoder.position_encodings.encodings = w["decoder.positional_embedding"]
    # one array for both, so that it is written once
    decoder.embeddings.weight = decoder.projection.weight = w["decoder.token_embedding.weight"]
    norm(encoder.layer_norm, "encoder.ln_post")
    norm(decoder.layer_norm, "decoder.ln")
    for part, side in (("encoder", encoder), ("decoder", decoder)):
        for i, layer in enumerate(side.layer):
            name = f"{part}.blocks.{i}"
            attention(layer.self_attention, f"{name}.attn", cross=False)
            if part == "decoder":
                attention(layer.attention, f"{name}.cross_attn", cross=True)
            linear(layer.ffn.linear_0, f"{name}.mlp.0")
            linear(layer.ffn.linear_1, f"{name}.mlp.2")
            norm(layer.ffn.layer_norm, f"{name}.mlp_ln")
    return spec


def write(
    out: Path,
    weights: Weights,
    tokenizer_json: dict[str, Any],
    listening: list[int],
    quantization: str | None,
) -> None:
    """Make `out` anew. `listening`: decoder layers whose heads follow the audio, for word time stamps."""
    text = json.dumps(tokenizer_json, ensure_ascii=False, separators=(",", ":"))
    tok = Tokenizer.from_str(text)
    spec = spec_of(weights)
    ids = sorted(tok.get_vocab().items(), key=lambda item: item[1])
    if len(ids) != len(weights["decoder.token_embedding.weight"]):
        raise SystemExit("the tokenizer and the weights do not belong together")
    spec.register_vocabulary([token for token, _ in ids])
    whisper = WhisperTokenizer(tok, multilingual=False)
    english = tok.token_to_id("<|en|>")
    special = (
        whisper.sot,
        whisper.transcribe,
        whisper.translate,
        whisper.sot_lm,
        whisper.sot_prev,
        whisper.no_speech,
        english,
    )
    spec.config.suppress_ids = sorted({*whisper.non_speech_tokens, *special})
    spec.config.suppress_ids_begin = [tok.token_to_id("\u0120"), whisper.eot]  # a space, and nothing at all
    spec.config.lang_ids = [english]
    heads = int(spec.decoder.num_heads)
    spec.config.alignment_heads = [(layer, head) for layer in listening for head in range(heads)]
    spec.validate()
    spec.optimize(quantization=quantization)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    spec.save(str(out))
    (out / "tokenizer.json").write_text(text, encoding="utf-8")
    (out / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSOR, indent=1), encoding="utf-8")
    print(out.name, sum(p.stat().st_size for p in out.iterdir()), "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--master", type=Path, default=MASTER)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    args = parser.parse_args()
    weights = load(args.master)
    n = layers(weights, "decoder")
    tokenizer_json = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    write(args.out / "whisper-tiny-test", weights, tokenizer_json, list(range(n // 2, n)), "int8")


if __name__ == "__main__":
    main()
