"""The shape of a model: what its memory and its speed follow from, whether its file is on disk or not.

The catalogue states shapes; of a user's own files they are read from the headers (`gguf`, `ct2`, `onnx`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=512)]  # LLAMA_MAX_LAYERS
Word = Annotated[str, msgspec.Meta(pattern=r"^[ -~]*\Z")]
"""Printable: a terminal shows it, and does nothing else with it."""


class Shape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the shapes."""


class LlmShape(Shape, frozen=True):
    """A language model in GGUF form.

    `kv_heads` is the number of key and value heads, of every layer or of each in turn (0: the layer has no
    attention).  With `window` tokens of sliding attention all layers but every `window_period`-th (all, if
    that is 0) see no further back.  `state_floats` is what each layer without attention keeps of a
    conversation, in 32-bit numbers.
    """

    architecture: Word
    layers: Layers
    embedding: Positive
    heads: Positive
    kv_heads: Count | tuple[Count, ...]
    head_dim: Positive
    feed_forward: Count
    vocabulary: Positive
    merges: Count
    trained_context: Count
    tied: bool
    window: Count = 0
    window_period: Count = 0
    state_floats: Count = 0

    @property
    def vocabulary_bytes(self) -> int:
        """What stands before the weights: of each token its text and type, of each merge its text."""
        return 25 * self.vocabulary + 17 * self.merges

    def kv_heads_by_layer(self) -> tuple[int, ...]:
        """One number for each layer."""
        if isinstance(self.kv_heads, int):
            return (self.kv_heads,) * self.layers
        return self.kv_heads


class SttShape(Shape, frozen=True):
    """A Whisper model in CTranslate2 form; `state` is the width of its layers."""

    state: Positive
    heads: Positive
    encoder_layers: Layers
    decoder_layers: Layers
    feed_forward: Positive
    vocabulary: Positive
    mels: Positive
    audio_context: Positive
    text_context: Positive
    multilingual: bool


class TtsShape(Shape, frozen=True):
    """A Piper voice."""

    rate_hz: Positive
