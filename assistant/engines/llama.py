"""Answers from a language model: the one file that imports llama_cpp.

llama.cpp is used through its C interface, which llama_cpp passes on function by function: the class `Llama`
of that package would compile the template of a stranger's model while loading it, and cannot stop inside a
long prompt.
"""

from __future__ import annotations

import codecs
import ctypes
import logging
import os
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llama_cpp import llama_cpp as lib

from assistant.config import Llm
from assistant.engines import prompts
from assistant.errors import AnswerError, ModelError
from assistant.messages import Exchange

log = logging.getLogger(__name__)

PROMPT_STEP_TOKENS = 128
"""Prompt tokens evaluated in one call: so few that an operation of a 7B model ends in a second on a Pi."""

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


# Should its C code give up, it must not wait for a debugger that it would start to print where.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
lib.llama_log_set(_collect, None)
lib.llama_backend_init()


def _never() -> bool:
    return False


class LlamaEngine:
    """One language model in memory; answers one question at a time, from one thread.

    `path` is a GGUF file, `template` the chat template that the catalogue knows for it ("" for none).
    Raises `ModelError` where the file cannot be used.
    """

    context_tokens: int
    """How much text, in tokens, the model sees at once: prompt and answer together."""

    def __init__(self, path: Path, settings: Llm, template: str) -> None:
        self._settings = settings
        self._evaluated: list[int] = []  # the tokens in llama.cpp's cache, which the next prompt may share
        self._model: Any = None
        self._context: Any = None
        _check_header(path)
        try:
            self._load(path)
            self._form = self._choose_format(template)
            self._limit = min(settings.max_tokens, self.context_tokens // 2)
            self._room = self.context_tokens - self._limit
            self._system = len(self._tokens(prompts.opening(self._form, settings.system_prompt)))
            if self._system > self._room // 2:
                raise ModelError(
                    f"llm.system_prompt in config.toml takes {self._system} tokens, and the model "
                    f"{path.name} has only {self._room} for a whole conversation; make it shorter."
                )
        except BaseException:
            self.close()
            raise

    def warm(self) -> None:
        """Evaluate what every conversation begins with, so that the first question need not wait for it."""
        opening = prompts.opening(self._form, self._settings.system_prompt)
        tokens = self._prompt_tokens(opening, self._form.add_bos)
        self._evaluate(tokens[self._reuse(tokens) :], _never)

    def answer(
        self,
        question: str,
        history: Sequence[Exchange],
        answer_so_far: str = "",
        cancelled: Callable[[], bool] = _never,
    ) -> Generator[str, None, None]:
        """The answer, piece by piece as the model makes it; behind `answer_so_far`, if there is any.

        `cancelled` is asked before every token and about 20 times a second inside the prompt; once it says
        yes, the answer ends.  Raises `AnswerError` where the question is too long for the model.
        """
        if self._context is None:
            raise RuntimeError("the engine is closed")
        if not prompts.neutralise(question):
            return
        tokens, stop = self._prompt(question, history, answer_so_far)
        begun = len(self._tokens(answer_so_far)) if answer_so_far.strip() else 0
        budget = min(self._limit - begun, self.context_tokens - len(tokens))
        watcher = prompts.StopWatcher(stop)
        # A new answer begins with a word; so does what follows a space.
        strip = not begun or answer_so_far[-1:].isspace()
        for piece in self._pieces(tokens, budget, cancelled):
            text = watcher.feed(piece)
            if strip:
                text = text.lstrip()
            if text:
                strip = False
                yield text
            if watcher.stopped:
                return
        if rest := watcher.finish():
            yield rest.lstrip() if strip else rest

    def close(self) -> None:
        """Give the memory back.  The engine cannot be used afterwards."""
        if self._context is not None:
            lib.llama_free(self._context)
        if self._model is not None:
            lib.llama_model_free(self._model)
        self._context = self._model = None

    # ------------------------------------------------------------ loading

    def _load(self, path: Path) -> None:
        _forget_errors()
        of_model = lib.llama_model_default_params()
        of_model.n_gpu_layers = 0
        # Weights are repacked for the processor: mapping the file would keep them in memory a second time.
        of_model.load_mode = lib.LLAMA_LOAD_MODE_NONE
        self._model = lib.llama_model_load_from_file(os.fsencode(path), of_model)
        if self._model is None:
            raise ModelError(
                f"The model {path} cannot be loaded ({_reason()}); download it again or choose another."
            )
        self._vocabulary: Any = lib.llama_model_get_vocab(self._model)
        self._architecture: str = self._metadata("general.architecture") or ""
        if (
            lib.llama_vocab_type(self._vocabulary) == lib.LLAMA_VOCAB_TYPE_NONE
            or lib.llama_model_has_encoder(self._model)
            or lib.llama_model_is_diffusion(self._model)
            or self._metadata(f"{self._architecture}.attention.causal") == "false"
        ):
            raise ModelError(
                f"The model {path} ({self._architecture}) does not write word by word; choose a chat model."
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
        of_context.n_batch = of_context.n_ubatch = min(512, self.context_tokens)
        of_context.n_threads = of_context.n_threads_batch = self._settings.threads or max(
            1, len(os.sched_getaffinity(0)) - 1
        )
        of_context.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._context = lib.llama_init_from_model(self._model, of_context)
        if self._context is None:
            raise ModelError(
                f"There is no room for the model {path} with llm.context_tokens = {self.context_tokens} "
                f"({_reason()}); make that smaller or choose a smaller model."
            )
        self._memory: Any = lib.llama_get_memory(self._context)

    def _choose_format(self, from_catalogue: str) -> prompts.Format:
        source = self._metadata("tokenizer.chat_template")
        name = prompts.choose_template(self._settings.template, source, from_catalogue, self._architecture)
        if name == prompts.FROM_GGUF and source:
            return prompts.learn(source, self._word(lib.llama_vocab_bos), self._word(lib.llama_vocab_eos))
        return prompts.FORMATS[name]

    def _metadata(self, key: str) -> str | None:
        """A value of the GGUF's header as text; None if there is none."""
        name = key.encode()
        size = lib.llama_model_meta_val_str(self._model, name, None, 0)
        if size < 0:
            return None
        buffer = ctypes.create_string_buffer(size + 1)
        lib.llama_model_meta_val_str(self._model, name, buffer, size + 1)
        return buffer.value.decode("utf-8", "replace")

    def _word(self, which: Callable[[Any], int]) -> str:
        """The text of a token such as llama_vocab_bos; empty where the model has none."""
        token = which(self._vocabulary)
        text: bytes = lib.llama_vocab_get_text(self._vocabulary, token) if token >= 0 else b""
        return text.decode("utf-8", "replace")

    # ------------------------------------------------------------ prompts

    def _prompt(
        self, question: str, history: Sequence[Exchange], answer_so_far: str
    ) -> tuple[list[int], tuple[str, ...]]:
        """The tokens of a prompt that fits, and the strings that end the answer."""
        form, system = self._form, self._settings.system_prompt
        exchanges = [len(self._tokens(prompts.past(form, past) + form.question_before)) for past in history]
        asked = [*(past.question for past in history), question]
        questions = [len(self._tokens(prompts.neutralise(words) + form.generate)) for words in asked]
        dropped = prompts.fit(exchanges, questions, self._system, self._room)
        prompt = prompts.render(form, system, history[dropped:], question, answer_so_far)
        tokens = self._prompt_tokens(prompt.text, prompt.add_bos)
        if len(tokens) >= self.context_tokens:
            raise AnswerError(
                "The question and the answer so far are too long for the language model; ask anew."
            )
        return tokens, prompt.stop

    def _prompt_tokens(self, text: str, add_bos: bool) -> list[int]:
        first = lib.llama_vocab_bos(self._vocabulary)
        begin = add_bos and first >= 0 and lib.llama_vocab_get_add_bos(self._vocabulary)
        return ([first] if begin else []) + self._tokens(text)

    def _tokens(self, text: str) -> list[int]:
        """`text` as tokens, the marks of the chat format as the special tokens that they are."""
        coded = text.encode()
        size = (
            len(coded) + 8
        )  # no token is shorter than a byte, but for the space that some models put in front
        buffer = (lib.llama_token * size)()
        count = lib.llama_tokenize(self._vocabulary, coded, len(coded), buffer, size, False, True)
        return list(buffer[:count])

    # ------------------------------------------------------------ answers

    def _pieces(self, tokens: list[int], budget: int, cancelled: Callable[[], bool]) -> Iterator[str]:
        """At most `budget` tokens behind `tokens`, as whole characters."""
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
        for ours, wanted in zip(self._evaluated, tokens[:-1], strict=False):
            if ours != wanted:
                break
            same += 1
        self._forget_behind(same)
        return len(self._evaluated)

    def _forget_behind(self, keep: int) -> None:
        """Cut llama.cpp's cache behind `keep` tokens; models that cannot (recurrent ones) lose all of it."""
        if not lib.llama_memory_seq_rm(self._memory, 0, keep, -1):
            lib.llama_memory_clear(self._memory, True)
            keep = 0
        del self._evaluated[keep:]

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
            self._evaluated += step
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
            self._forget_behind(len(self._evaluated))
        if raised:
            raise raised[0]
        return code


def _forget_errors() -> None:
    global _first_error
    _first_error = ""


def _reason() -> str:
    return _first_error.rstrip(".") or "llama.cpp gives no reason"


def _check_header(path: Path) -> None:
    """Refuse what is no GGUF file before C code reads it.

    A GGUF begins with its name, its version, and the numbers of its tensors and of its metadata.
    """
    try:
        with path.open("rb") as file:
            header = file.read(24)
    except FileNotFoundError:
        raise ModelError(f"There is no model {path}; download it, or name another in llm.model.") from None
    except OSError as error:
        raise ModelError(
            f"The model {path} cannot be read: {error.strerror}; name another in llm.model."
        ) from None
    if header[:4] != b"GGUF":
        raise ModelError(
            f"{path} is not a model in GGUF format; download it again, or name another in llm.model."
        )
    if len(header) < 24:
        raise ModelError(f"The model {path} is cut off after {len(header)} bytes; download it again.")
    version, tensors, _ = struct.unpack("<IQQ", header[4:])
    if version not in (2, 3):
        raise ModelError(
            f"The model {path} is in GGUF version {version}, not 2 or 3 as it should be; choose another."
        )
    if tensors == 0:
        raise ModelError(f"The model {path} has no weights in it; choose another.")
