"""Voices that are cut: the sound is that of the whole graph, and what cannot be cut is left whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_piper import HIGH, MEDIUM, ONE_STAGE, Shape, SmallVoice

from assistant.catalogue.bounded import opened
from assistant.config import Tts
from assistant.engines.piper import FrugalSession, PiperEngine, session_options
from assistant.engines.piper_cut import Part, Uncuttable, cut
from assistant.engines.piper_windows import Decoder, Stage
from assistant.errors import ModelError

MODELS = Path(__file__).parents[1] / "models"


def parts_of(path: Path) -> list[Part]:
    with opened(path) as file:
        return cut(file)


@pytest.mark.parametrize("speakers", [1, 3])
@pytest.mark.parametrize("shape", [MEDIUM, HIGH, ONE_STAGE], ids=["medium", "high", "one stage"])
@pytest.mark.parametrize("first_samples", [1, 700, 5000])
def test_windows_make_the_sound_of_the_whole(
    shape: Shape, speakers: int, first_samples: int, tmp_path: Path
) -> None:
    path = SmallVoice(shape, speakers).written(tmp_path)
    options = session_options(path, 1)
    feed = {
        "input": np.random.default_rng(1).integers(0, 256, (1, 60)),
        "input_lengths": np.array([60]),
        "scales": np.ones(3, np.float32),
    }
    if speakers > 1:
        feed["sid"] = np.array([2])
    (whole,) = FrugalSession(str(path), options, whole=True).run(None, feed)
    with opened(path) as file:
        parts = [(FrugalSession(part.model(file), options, whole=False), part.reach) for part in cut(file)]
    (steps,) = parts[0][0].run(None, feed)
    decoder = Decoder([Stage(session.give, reach) for session, reach in parts[1:] if reach])
    chunks = list(decoder.sound(steps, first_samples, 2 * first_samples))
    assert 0.05 < np.abs(whole).mean() < 0.6
    np.testing.assert_allclose(np.concatenate(chunks, axis=-1).ravel(), whole.ravel(), atol=1e-5)
    assert (len(chunks) > 1) == (first_samples < whole.size / 2)
    # the last one has what the stages had held back
    held_back = 10 * decoder.samples_a_step
    assert all(chunk.size <= 2.5 * max(first_samples, decoder.samples_a_step) for chunk in chunks[:-1])
    assert chunks[-1].size <= 3 * max(first_samples, decoder.samples_a_step) + held_back


@pytest.mark.parametrize(
    ("shape", "reaches"),
    [
        # the widest block of a stage reaches 3 (3 + 12) steps, so with the transposed convolution before it
        # 15 - 4 + 45 and 4 + 45 of those eighths of a frame
        (MEDIUM, [(8, 56 / 8, 49 / 8), (32, 11 / 8 + 45 / 8 + 5 / 32 + 45 / 32 + 3 / 32, None)]),
        # 5 (1 + 1 + 3 + 1 + 5 + 1) steps
        (HIGH, [(8, 71 / 8, 64 / 8), (32, None, None)]),
        (ONE_STAGE, [(4, (7 - 2 + 1 + 3) / 4, (2 + 1 + 3) / 4)]),
    ],
    ids=["medium", "high", "one stage"],
)
def test_the_reach_of_each_stage(
    shape: Shape, reaches: list[tuple[int, float | None, float | None]], tmp_path: Path
) -> None:
    first, *stages = parts_of(SmallVoice(shape).written(tmp_path))
    assert first.reach is None
    assert len(stages) == len(reaches)
    for stage, (rate, before, after) in zip(stages, reaches, strict=True):
        assert stage.reach is not None
        assert stage.reach.rate == rate
        assert before in (None, stage.reach.before)
        assert after in (None, stage.reach.after)


def test_large_weights_stay_in_the_file(tmp_path: Path) -> None:
    path = SmallVoice(HIGH).written(tmp_path)
    with opened(path) as file:
        assert sum(len(part.model(file)) for part in cut(file)) < path.stat().st_size / 3


# ---------------------------------------------------------------- what is left whole


def across(voice: SmallVoice) -> None:
    """Something from before the decoder comes in behind it, in other ways than the latent."""
    mean = voice.add("ReduceMean", voice.latent, axes=[1])
    voice.sound = voice.add("Mul", voice.sound, mean)


def beside(voice: SmallVoice) -> None:
    """The sound is another than the decoder's."""
    voice.sound = voice.add("ReduceMean", voice.latent, axes=[1])


def appended(operator: str, *constants: np.ndarray, **attributes: Any) -> Callable[[SmallVoice], None]:
    def change(voice: SmallVoice) -> None:
        names = [voice.constant(array) for array in constants]
        voice.sound = voice.add(operator, voice.sound, *names, **attributes)

    return change


def kernel(*dims: int) -> np.ndarray:
    return np.ones(dims, np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (across, "Mul takes something from two parts"),
        (beside, "not made by the decoder"),
        (appended("Softmax", axis=-1), "Softmax in the decoder"),
        (appended("CumSum", np.array(2)), "CumSum in the decoder"),
        (appended("Add", kernel(1, 1, 256)), "changes with time"),
        (appended("Conv", kernel(1, 1, 4), strides=[2], pads=[1, 1]), "more or fewer steps"),
        (appended("Conv", kernel(1, 1, 3)), "more or fewer steps"),
        (appended("Conv", kernel(1, 1, 3), pads=[3, 3], dilations=[2]), "more or fewer steps"),
        (appended("ConvTranspose", kernel(1, 1, 5), strides=[2], pads=[1, 1]), "the same number of steps"),
        (appended("ConvTranspose", kernel(1, 1, 4), strides=[2], output_shape=[2560]), "of another kind"),
        (appended("Concat", kernel(1, 1, 1), axis=2), "Concat along another axis"),
    ],
)
def test_what_is_not_local_or_not_understood_is_not_cut(
    change: Callable[[SmallVoice], None], reason: str, tmp_path: Path
) -> None:
    voice = SmallVoice(MEDIUM)
    change(voice)
    with pytest.raises(Uncuttable, match=reason):
        parts_of(voice.written(tmp_path))


@pytest.mark.parametrize("speakers", [1, 3])
def test_a_voice_that_is_not_cut_says_the_same(speakers: int, tmp_path: Path) -> None:
    sounds = []
    for name in ("cut", "whole"):
        voice = SmallVoice(MEDIUM, speakers)
        if name == "whole":  # a sign that is turned twice is not understood
            voice.sound = voice.add("Neg", voice.add("Neg", voice.sound))
        (tmp_path / name).mkdir()
        engine = PiperEngine(voice.written(tmp_path / name), Tts(threads=1))
        sounds.append(list(engine.speak("The capital of Germany is Berlin.")))
    cut_up, whole = sounds
    assert len(cut_up) > 1
    assert len(whole) == 1
    np.testing.assert_allclose(np.concatenate(cut_up), whole[0], atol=2)


@pytest.mark.parametrize("name", ["en_US-tiny-low", "en_US-tiny-medium"])
def test_a_voice_without_such_a_decoder_is_not_cut(name: str) -> None:
    with pytest.raises(Uncuttable, match="no ConvTranspose"):
        parts_of(MODELS / f"{name}.onnx")


# ---------------------------------------------------------------- damaged and hostile files

SMALL = SmallVoice(ONE_STAGE).content()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut")


@given(flips=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes(flips: list[tuple[int, int]], folder: Path) -> None:
    broken = bytearray(SMALL)
    for at, byte in flips:
        broken[at] = byte
    path = folder / "flipped.onnx"
    path.write_bytes(broken)
    with opened(path) as file, contextlib.suppress(Uncuttable, ModelError):
        for part in cut(file):
            assert len(part.model(file)) < 2 * len(SMALL)


@given(length=st.integers(0, len(SMALL) - 20))
def test_a_file_cut_off_anywhere(length: int, folder: Path) -> None:
    path = folder / "short.onnx"
    path.write_bytes(SMALL[:length])
    with pytest.raises((ModelError, Uncuttable)):
        parts_of(path)


def test_a_file_that_becomes_shorter_meanwhile_is_refused(tmp_path: Path) -> None:
    path = SmallVoice(ONE_STAGE).written(tmp_path)
    with opened(path) as file:
        parts = cut(file)
        path.write_bytes(b"")
        with pytest.raises(ModelError, match="became shorter"):
            parts[0].model(file)
