"""A GGUF model in llama.cpp, tokens in and text out: the one file that imports llama_cpp.

llama.cpp is used through its C interface, which llama_cpp passes on function by function: the class `Llama`
of that package would compile the template of a stranger's model while loading it, and cannot stop inside a
long prompt.
"""

from __future__ import annotations

import codecs
import ctypes
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# How often a thread looks for the others at each of a token's 300 barriers before it sleeps; read when the
# library is loaded.  By default they spin for so long that one other busy program makes a token take two to
# six times as long; with this about twice, and on a quiet board nothing is lost.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from llama_cpp import llama_cpp as lib

from assistant.board.threads import beside_the_voice, threads
from assistant.catalogue.locate import check
from assistant.config import Llm
from assistant.errors import AnswerError, ModelError, NoRoomError
from assistant.plan.prediction import PROMPT_STEP_TOKENS

log = logging.getLogger(__name__)

ASK_EVERY_S = 0.05
"""How often `cancelled` is asked while a prompt is evaluated."""

PENALTY_WINDOW_TOKENS = 64
"""How far `repeat_penalty` looks back; llama.cpp's own default."""

_ERROR = 4  # GGML_LOG_LEVEL_ERROR
_ABORTED = 2  # what llama_decode returns when its abort callback said so
_first_error = ""


@lib.llama_log_callback  # type: ignore[untyped-decorator]  # llama_cpp has no types
def _collect(level: int, text: bytes, _: object) -> None:
    """llama.cpp's log: its first error is kept for the person, and nothing goes to the terminal."""
    global _first_error
    line = text.decode("utf-8", "replace").strip()
    if level == _ERROR and line:
        log.debug("llama.cpp: %s", line)
        _first_error = _first_error or line.removeprefix("llama_model_load: error loading model: ")


def _forget_errors() -> None:
    global _first_error
    _first_error = ""


def _reason() -> str:
    return _first_error.rstrip(".") or "llama.cpp gives no reason"


# Should its C code give up, it must not wait for a debugger that it would start to print where.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
lib.llama_log_set(_collect, None)
lib.llama_backend_init()


def never() -> bool:
    return False


class LlamaModel:
    """The weights, the context and the vocabulary of the GGUF file `path`; used from one thread.

    Raises `ModelError` where the file cannot be used.
    """

    architecture: str
    """Such as "llama" or "gpt2"."""

    context_tokens: int
    """How much text, in tokens, the model sees at once: prompt and answer together."""

    evaluated: list[int]
    """The tokens in llama.cpp's cache, which the next prompt may share."""

    def __init__(self, path: Path, settings: Llm) -> None:
        self._settings = settings
        self.evaluated = []
        self._model: Any = None
        self._context: Any = None
        check("llm", path, "download it again, or name another in llm.model")
        try:
            self._load(path)
        except BaseException:
            self.close()
            raise

    @property
    def is_closed(self) -> bool:
        return bool(self._context is None)

    def close(self) -> None:
        """Give the memory back.  The model cannot be used afterwards."""
        if self._context is not None:
            lib.llama_free(self._context)
        if self._model is not None:
            lib.llama_model_free(self._model)
        self._context = self._model = None

    def _load(self, path: Path) -> None:
        _forget_errors()
        of_model = lib.llama_model_default_params()
        of_model.n_gpu_layers = 0
        # Weights are repacked for the processor: mapping the file would keep them in memory a second time.
        of_model.load_mode = lib.LLAMA_LOAD_MODE_NONE
        self._model = lib.llama_model_load_from_file(os.fsencode(path), of_model)
        if self._model is None and "allocate" in _first_error:
            raise NoRoomError(f"There is not enough memory for the model {path}; choose a smaller one.")
        if self._model is None:
            raise ModelError(
                f"The model {path} cannot be loaded ({_reason()}); download it again or choose another."
            )
        self._vocabulary: Any = lib.llama_model_get_vocab(self._model)
        self.architecture = self.metadata("general.architecture") or ""
        if (
            lib.llama_vocab_type(self._vocabulary) == lib.LLAMA_VOCAB_TYPE_NONE
            or lib.llama_model_has_encoder(self._model)
            or lib.llama_model_is_diffusion(self._model)
            or self.metadata(f"{self.architecture}.attention.causal") == "false"
        ):
            raise ModelError(
                f"The model {path} ({self.architecture}) does not write word by word; choose a chat model."
            )
        trained = lib.llama_model_n_ctx_train(self._model)
        self.context_tokens = self._settings.context_tokens
        if 0 < trained < self.context_tokens:
            log.info(
                "The model was trained for %d tokens, not llm.context_tokens = %d",
                trained,
                self.context_tokens,
            )
            self.context_tokens = trained
        of_context = lib.llama_context_default_params()
        of_context.n_ctx = self.context_tokens
        of_context.n_batch = of_context.n_ubatch = PROMPT_STEP_TOKENS
        of_context.n_outputs_max = (
            1  # the prediction behind the last token alone: room for all takes megabytes
        )
        of_context.swa_full = False  # layers with a sliding window keep what the window shows, no more
        self._threads = self._settings.threads or threads("llm")
        of_context.n_threads = of_context.n_threads_batch = self._threads
        of_context.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if self._settings.kv_type == "q8_0":
            of_context.type_k = of_context.type_v = lib.GGML_TYPE_Q8_0
        self._context = lib.llama_init_from_model(self._model, of_context)
        if self._context is None:
            raise NoRoomError(
                f"There is no room for the model {path} with llm.context_tokens = {self.context_tokens} "
                f"({_reason()}); make that smaller or choose a smaller model."
            )
        self._memory: Any = lib.llama_get_memory(self._context)

    # ------------------------------------------------------------ words

    def metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text; None if there is none."""
        name = key.encode()
        size = lib.llama_model_meta_val_str(self._model, name, None, 0)
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        lib.llama_model_meta_val_str(self._model, name, buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    @property
    def bos(self) -> str:
        """The text of the token that begins a text; empty where the model has none."""
        return self._word(lib.llama_vocab_bos(self._vocabulary))

    @property
    def eos(self) -> str:
        """The text of the token that ends a text; empty where the model has none."""
        return self._word(lib.llama_vocab_eos(self._vocabulary))

    def _word(self, token: int) -> str:
        text: bytes = lib.llama_vocab_get_text(self._vocabulary, token) if token >= 0 else b""
        return text.decode("utf-8", "replace")

    def tokens(self, text: str, add_bos: bool = False) -> list[int]:
        """`text` as tokens, the marks of the chat format as the special tokens that they are.

        With `add_bos` the token that begins a text stands in front, if the model wants one.
        """
        first = lib.llama_vocab_bos(self._vocabulary)
        begin = add_bos and first >= 0 and lib.llama_vocab_get_add_bos(self._vocabulary)
        coded = text.encode()
        # no token is shorter than a byte, but for the space that some models put in front
        size = len(coded) + 8
        buffer = (lib.llama_token * size)()
        count = lib.llama_tokenize(self._vocabulary, coded, len(coded), buffer, size, False, True)
        return ([first] if begin else []) + list(buffer[:count])

    # ------------------------------------------------------------ answers

    def leave_a_core(self, leave: bool) -> None:
        """Whether to compute with fewer threads from now on, as a sentence is made into sound meanwhile."""
        count = beside_the_voice(self._threads) if leave else self._threads
        lib.llama_set_n_threads(self._context, count, count)

    @property
    def can_be_cut(self) -> bool:
        """Whether what has been evaluated last can be forgotten alone; recurrent models then forget all."""
        return not (lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model))

    def read(self, tokens: list[int], cancelled: Callable[[], bool] = never) -> None:
        """Evaluate `tokens`, so that a text that begins with them need not wait for it.

        `cancelled` is asked about 20 times a second; once it says yes, this ends.
        """
        if self.evaluated[: len(tokens)] != tokens:
            self._evaluate(tokens[self._reuse(tokens) :], cancelled)

    def go_on(self, tokens: list[int], budget: int, cancelled: Callable[[], bool]) -> Iterator[str]:
        """What the model writes behind `tokens`: the text of at most `budget` tokens, in whole characters.

        `cancelled` is asked before every token and about 20 times a second while `tokens` are evaluated; once
        it says yes, this ends.  Raises `AnswerError`.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self._sampler() as sampler:
            coming = tokens[self._reuse(tokens) :]
            for _ in range(budget):
                if cancelled() or not self._evaluate(coming, cancelled):
                    return
                token = lib.llama_sampler_sample(sampler, self._context, -1)
                if lib.llama_vocab_is_eog(self._vocabulary, token):
                    break
                yield decoder.decode(self._bytes(token))
                if self._context is None:  # closed while the answer was being read
                    return
                coming = [token]
        yield decoder.decode(b"", final=True)

    @contextmanager
    def _sampler(self) -> Iterator[Any]:
        """llama.cpp's sampler chain as config.toml wants it."""
        wanted = self._settings
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        links = []
        if wanted.repeat_penalty != 1:
            vocabulary_tokens = lib.llama_vocab_n_tokens(self._vocabulary)
            links.append(
                lib.llama_sampler_init_penalties(
                    vocabulary_tokens, PENALTY_WINDOW_TOKENS, wanted.repeat_penalty, 0.0, 0.0
                )
            )
        if wanted.temperature == 0:
            links.append(lib.llama_sampler_init_greedy())
        else:
            seed = lib.LLAMA_DEFAULT_SEED if wanted.seed < 0 else wanted.seed  # the default is a random one
            links += [
                lib.llama_sampler_init_top_k(wanted.top_k),
                lib.llama_sampler_init_top_p(wanted.top_p, 1),
                lib.llama_sampler_init_temp(wanted.temperature),
                lib.llama_sampler_init_dist(seed),
            ]
        for link in links:
            lib.llama_sampler_chain_add(chain, link)
        try:
            yield chain
        finally:
            lib.llama_sampler_free(chain)  # and its links

    def _bytes(self, token: int) -> bytes:
        """What a token stands for; mostly not a whole character in other scripts than Latin."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = lib.llama_token_to_piece(self._vocabulary, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count

    def _reuse(self, tokens: list[int]) -> int:
        """How many of `tokens` llama.cpp still has from before; it forgets what else it has."""
        same = 0
        # the last one is always evaluated anew: only so is there a prediction of the next
        for ours, wanted in zip(self.evaluated, tokens[:-1], strict=False):
            if ours != wanted:
                break
            same += 1
        window = lib.llama_model_n_swa(self._model)
        if window and lib.llama_memory_seq_pos_min(self._memory, 0) > max(0, same - window):
            same = 0  # the layers with a sliding window no longer have what stood before this place
        self._forget_behind(same)
        return len(self.evaluated)

    def _forget_behind(self, keep: int) -> None:
        """Cut llama.cpp's cache behind `keep` tokens; models that cannot (recurrent ones) lose all of it."""
        if not lib.llama_memory_seq_rm(self._memory, 0, keep, -1):
            lib.llama_memory_clear(self._memory, True)
            keep = 0
        del self.evaluated[keep:]

    def _evaluate(self, tokens: list[int], cancelled: Callable[[], bool]) -> bool:
        """Let the model read `tokens`, behind what it has read; False if cancelled meanwhile."""
        for at in range(0, len(tokens), PROMPT_STEP_TOKENS):
            step = tokens[at : at + PROMPT_STEP_TOKENS]
            code = self._decode(step, cancelled)
            if code == _ABORTED:
                return False
            if code != 0:
                raise AnswerError(
                    f"The language model failed ({_reason()}); ask again, or begin a new conversation."
                )
            self.evaluated += step
        return True

    def _decode(self, step: list[int], cancelled: Callable[[], bool]) -> int:
        """llama_decode, asking `cancelled` between the operations of a prompt; what fails is undone."""
        raised: list[BaseException] = []
        due_s = 0.0

        def stop(_: object) -> bool:
            nonlocal due_s
            now_s = time.monotonic()
            if now_s < due_s:
                return False
            due_s = now_s + ASK_EVERY_S
            try:
                return cancelled()
            except BaseException as error:  # noqa: BLE001 - ctypes would swallow it; it is raised again below
                raised.append(error)
                return True

        # A single token is soon over, and asking some hundred times would only slow it down.
        callback = lib.ggml_abort_callback(stop) if len(step) > 1 else lib.ggml_abort_callback()
        lib.llama_set_abort_callback(self._context, callback, None)
        _forget_errors()
        tokens = (lib.llama_token * len(step))(*step)  # the batch only points at them
        code = int(lib.llama_decode(self._context, lib.llama_batch_get_one(tokens, len(step))))
        if code != 0:
            self._forget_behind(len(self.evaluated))
        if raised:
            raise raised[0]
        return code
