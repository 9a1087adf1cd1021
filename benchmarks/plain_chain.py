"""The chain that most assistants are: each stage waits for the whole of what the one before it makes.

After the hangover the utterance goes through `WhisperModel.transcribe`, the conversation through a chat
completion of `Llama` that reads all of it anew, and the first sentence through `PiperVoice`.  Weights, words
and threads are ours; only the token that begins a text is missing in the prompt: the package leaves it out.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

# As in the workers, and read when the libraries are imported: threads that spin while they wait for others
# would make this chain many times slower on a machine that is not quite idle.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import msgspec
import numpy as np
import onnxruntime
from faster_whisper import WhisperModel
from llama_cpp import Llama
from piper import PiperConfig, PiperVoice

from assistant.audio import endpointing
from assistant.audio.formats import FRAME_BYTES, RATE_HZ
from assistant.board.threads import threads
from assistant.catalogue.locate import locate
from assistant.config import Config, models_folder
from assistant.engines.webrtc import WebrtcVad
from assistant.text.sentences import SentenceSplitter
from benchmarks.turns import Pcm, loud

FULL_SCALE = 32_768
ENVIRONMENT = ("OPENBLAS_NUM_THREADS", "GOMP_SPINCOUNT")
"""What this module has set; the assistant is to be started without."""


class Answered(NamedTuple):
    """A turn: positions in seconds of the recording, what each stage took, and the voice's first silence."""

    text: str
    answer: str
    speech_end_s: float
    end_of_turn_s: float
    stt_ms: float
    prompt_ms: float
    sentence_ms: float
    tts_ms: float
    silence_ms: float

    @property
    def first_sound_s(self) -> float:
        took_ms = self.stt_ms + self.prompt_ms + self.sentence_ms + self.tts_ms + self.silence_ms
        return self.end_of_turn_s + took_ms / 1000


class PlainChain:
    """All three models in this process, with the threads of `config`, each warmed up."""

    def __init__(self, config: Config) -> None:
        self._config = config
        folder = models_folder(config)
        stt, llm, tts = config.stt, config.llm, config.tts
        path = str(locate("stt", stt.model, folder).path)
        cores = stt.threads or threads("stt")
        self._stt = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=cores)
        located = locate("llm", llm.model, folder)
        cores = llm.threads or threads("llm")
        self._llm = Llama(
            str(located.path),
            n_ctx=llm.context_tokens,
            n_threads=cores,
            n_threads_batch=cores,
            verbose=False,
        )
        if llm.template != "auto":
            self._llm.chat_format = llm.template
        elif "tokenizer.chat_template" not in self._llm.metadata and located.template:
            self._llm.chat_format = located.template
        voice = locate("tts", tts.model, folder).path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = tts.threads or threads("tts")
        session = onnxruntime.InferenceSession(str(voice), options, providers=["CPUExecutionProvider"])
        described = json.loads(voice.with_name(voice.name + ".json").read_text(encoding="utf-8"))
        self._voice = PiperVoice(session=session, config=PiperConfig.from_dict(described))
        self._turn(np.zeros(RATE_HZ, np.int16), [])

    def converse(self, pcm: Pcm) -> Iterator[Answered]:
        """A conversation with whoever speaks in `pcm` (16 kHz), anew from its first question."""
        messages: list[dict[str, str]] = []
        for utterance, speech_end_s, end_of_turn_s in self._utterances(pcm):
            heard = self._turn(utterance, messages)
            yield heard._replace(speech_end_s=speech_end_s, end_of_turn_s=end_of_turn_s)

    def _utterances(self, pcm: Pcm) -> Iterator[tuple[Pcm, float, float]]:
        """What is said, until when, and when the hangover behind it is over."""
        settings = self._config.vad
        endpointer = endpointing.Endpointer(
            msgspec.structs.replace(settings, tentative_pause_ms=settings.hangover_ms)
        )
        vad = WebrtcVad(settings.aggressiveness)
        sound = pcm.tobytes()
        utterance = np.zeros(0, np.int16)
        for end in range(FRAME_BYTES, len(sound) + 1, FRAME_BYTES):
            frame = sound[end - FRAME_BYTES : end]
            for event in endpointer.feed(frame, vad.voiced(frame)):
                if isinstance(event, endpointing.Paused):
                    utterance = np.frombuffer(event.pcm, np.int16)
                elif isinstance(event, endpointing.Ended):
                    yield utterance, event.speech_end_sample / RATE_HZ, end / 2 / RATE_HZ

    def _turn(self, utterance: Pcm, messages: list[dict[str, str]]) -> Answered:
        """Recognise, ask, speak; question and answer join `messages`."""
        began_s = time.perf_counter()
        segments, _ = self._stt.transcribe(
            np.divide(utterance, FULL_SCALE, dtype=np.float32),
            beam_size=5,
            language=self._config.stt.language,
        )
        text = "".join(segment.text for segment in segments).strip()
        read_s = time.perf_counter()
        messages.append(self._message("user", text))
        pieces = self._complete(messages)
        answer = next(pieces, "")
        first_s = time.perf_counter()
        splitter = SentenceSplitter()
        sentences = splitter.feed(answer)
        while not sentences and (piece := next(pieces, None)) is not None:
            answer += piece
            sentences = splitter.feed(piece)
        sentences = sentences or splitter.end()
        whole_s = time.perf_counter()
        chunks = [chunk.audio_int16_array for chunk in self._voice.synthesize("".join(sentences[:1]))]
        made_s = time.perf_counter()
        answer += "".join(pieces)  # the rest is not waited for, but belongs to the conversation
        messages.append(self._message("assistant", answer))
        sound = np.concatenate([np.zeros(0, np.int16), *chunks])
        silence_s = float(next(iter(loud(sound)), 0)) / self._voice.config.sample_rate
        took_s = (read_s - began_s, first_s - read_s, whole_s - first_s, made_s - whole_s, silence_s)
        return Answered(text, answer, 0.0, 0.0, *(1000 * each_s for each_s in took_s))

    def _complete(self, messages: list[dict[str, str]]) -> Iterator[str]:
        wanted = self._config.llm
        system = [self._message("system", wanted.system_prompt)] if wanted.system_prompt.strip() else []
        self._llm.reset()  # so that the whole prompt is read
        stream: Any = self._llm.create_chat_completion(
            [*system, *messages],
            stream=True,
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            top_k=wanted.top_k,
            repeat_penalty=wanted.repeat_penalty,
            max_tokens=wanted.max_tokens,
        )
        for part in stream:
            if piece := part["choices"][0]["delta"].get("content"):
                yield piece

    @staticmethod
    def _message(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}
