"""Facts are gathered from the board, the catalogue and the disk; a plan completes a configuration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from boards import PI_4, PI_5, SPEEDS, TINY, TINY_CHAT, board, facts_of, in_folder, put
from hypothesis import given
from hypothesis import strategies as st

from assistant.board.memory import MemoryGauge
from assistant.board.recognise import GIB
from assistant.board.speed import FILE, KeptSpeed
from assistant.catalogue import locate
from assistant.catalogue.read import KINDS, read
from assistant.config import Config, Llm, Models, Stt, Tts, Wake
from assistant.errors import ModelError
from assistant.plan import planner
from assistant.plan.prediction import BUTTON_BYTES, MIB, WAKE_WORD_BYTES, repacked_types
from assistant.plan.selection import select
from assistant.plan.sets import Facts

PI_4_OF_4_GB = "MemTotal: 3884332 kB\nMemFree: 600000 kB\nMemAvailable: 3000000 kB\nSwapFree: 2097136 kB\n"
GROUP = "sys/fs/cgroup/assistant.slice/memory."
TINY_OWN = Config(
    llm=Llm(model=str(TINY_CHAT)),
    stt=Stt(model=str(TINY / "whisper-tiny-test")),
    tts=Tts(model=str(TINY / "en_US-tiny-medium.onnx")),
)


def gauge(root: Path, files: dict[str, str]) -> MemoryGauge:
    """Of a machine whose kernel shows `files`."""
    for name, content in ({"proc/meminfo": PI_4_OF_4_GB} | files).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return MemoryGauge(root)


def limited(limit_mib: int, used_mib: int) -> dict[str, str]:
    return {
        "proc/self/cgroup": "0::/assistant.slice\n",
        "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw",
        GROUP + "max": f"{limit_mib * MIB}\n",
        GROUP + "high": "max\n",
        GROUP + "current": f"{used_mib * MIB}\n",
        GROUP + "stat": "inactive_file 0\n",
    }


def gathered(config: Config, folder: Path, only_on_disk: bool = True) -> Facts:
    """On a Pi 4 whose speed nobody tells."""
    config = in_folder(config, folder)
    return planner.gather(config, 4 * GIB, only_on_disk=only_on_disk, board=board(PI_4, 4))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder, with the measured speed of the Pi 4 in it."""
    folder = tmp_path / "state"
    folder.mkdir()
    kept = KeptSpeed(PI_4, cores=4, nominal_gb=4, speed=SPEEDS[PI_4])
    (folder / FILE).write_bytes(msgspec.json.encode(kept))
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


# ---------------------------------------------------------------- budgets


def test_the_budget_is_what_is_available_less_a_reserve(tmp_path: Path) -> None:
    found = gauge(tmp_path, {})
    reserve = 64 * MIB + 3_884_332 * 1024 // 25
    assert planner.reserve_bytes(found.total().bytes) == reserve
    assert planner.budget_bytes(found) == 3_000_000 * 1024 - reserve


def test_what_the_assistant_holds_already_is_its_own(tmp_path: Path) -> None:
    found = gauge(tmp_path, {})
    assert planner.budget_bytes(found, 500 * MIB) == planner.budget_bytes(found) + 500 * MIB


def test_the_limit_of_its_group_holds(tmp_path: Path) -> None:
    found = gauge(tmp_path, limited(1000, 300))
    assert planner.budget_bytes(found) == 700 * MIB - (64 * MIB + 40 * MIB)


def test_there_is_never_less_than_nothing(tmp_path: Path) -> None:
    assert planner.budget_bytes(gauge(tmp_path, limited(100, 90))) == 0
    assert planner.budget_of_board(0) == planner.budget_of_board(256 * MIB) == 0


@pytest.mark.parametrize(
    ("gb", "total_kib"),
    [(0.5, 427_156), (1, 925_836), (2, 1_891_068), (4, 3_884_332), (8, 7_998_984), (16, 16_608_256)],
)
def test_a_board_keeps_to_itself_what_real_ones_do(gb: float, total_kib: int) -> None:
    left_bytes = int(gb * GIB) - planner.kernel_bytes(int(gb * GIB))
    assert left_bytes == pytest.approx(total_kib * 1024, rel=0.04)


@given(st.tuples(st.integers(0, 2**38), st.integers(0, 2**38)).map(sorted))
def test_a_larger_board_has_more_to_give(sizes: list[int]) -> None:
    small, large = map(planner.budget_of_board, sizes)
    assert 0 <= small <= large <= sizes[1]


# ---------------------------------------------------------------- facts


def test_facts_of_the_board_and_of_the_configuration(tmp_path: Path) -> None:
    facts = facts_of(in_folder(Config(stt=Stt(language="fr")), tmp_path), PI_5, 4)
    assert (facts.budget_bytes, facts.cores) == (planner.budget_of_board(4 * GIB), 4)
    assert facts.repacked == repacked_types("aarch64", frozenset({"asimddp"}))
    assert (facts.speed, facts.language, facts.prefer) == (SPEEDS[PI_5], "fr", "balanced")
    assert (facts.context_tokens, facts.kv_types) == (2048, ("f16", "q8_0"))


@pytest.mark.parametrize(
    ("wake", "more_bytes"),
    [
        (Wake(), 0),
        (Wake(mode="phrase"), 0),
        (Wake(mode="word"), WAKE_WORD_BYTES),
        (Wake(mode="word", button_gpio=17), WAKE_WORD_BYTES + BUTTON_BYTES),
    ],
)
def test_what_wakes_it_takes_memory(wake: Wake, more_bytes: int, tmp_path: Path) -> None:
    plans = [
        select(facts_of(in_folder(msgspec.structs.replace(TINY_OWN, wake=each), tmp_path), PI_4, 4))
        for each in (Wake(), wake)
    ]
    assert plans[1].processes["vad"].peak_bytes - plans[0].processes["vad"].peak_bytes == more_bytes
    assert plans[1].total_bytes - plans[0].total_bytes == more_bytes


@pytest.mark.parametrize(
    ("llm", "least"),
    [
        (Llm(), 512),
        (Llm(max_tokens=512), 1024),
        (Llm(max_tokens=100, context_tokens=128), 512),
        # a token has two characters at least, and the prompt may fill half of what an answer leaves
        (Llm(max_tokens=100, system_prompt="x" * 1000), 100 + 2 * 520),
    ],
)
def test_the_least_context_holds_an_answer_and_the_prompt(llm: Llm, least: int, tmp_path: Path) -> None:
    assert facts_of(in_folder(Config(llm=llm), tmp_path), PI_4, 4).least_context_tokens == least


def test_a_precision_that_is_asked_for_is_the_only_one(tmp_path: Path) -> None:
    for kv_type in ("f16", "q8_0"):
        config = Config(llm=msgspec.structs.replace(Llm(), kv_type=kv_type))
        assert facts_of(in_folder(config, tmp_path), PI_4, 4).kv_types == (kv_type,)


def test_without_any_language_model_there_is_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "TEST_MODELS", tmp_path)
    with pytest.raises(ModelError) as caught:
        gathered(Config(), tmp_path)
    assert str(caught.value) == (
        'There is no language model for the language "en" on disk; fetch what fits this board with '
        "`assistant models pull`, or name one in llm.model."
    )


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    config = Config(llm=Llm(model="/none/there.gguf"))
    with pytest.raises(ModelError, match=r"There is no language model /none/there\.gguf"):
        gathered(config, tmp_path, only_on_disk=False)
    # The daemon plans with what is on disk, and lives: the worker will say what is wrong.
    facts = gathered(config, tmp_path)
    assert [candidate.test_model for candidate in facts.llm] == [True]
    assert planner.apply(config, facts, select(facts)).llm.model == "/none/there.gguf"


# ---------------------------------------------------------------- speed


def test_the_speed_that_was_measured_is_used_where_there_is_a_choice(tmp_path: Path, state: Path) -> None:
    for name in ("tinyllama-1.1b-chat-q8_0", "smollm2-135m-instruct-q8_0"):
        put(read(), name, tmp_path)
    written = (state / FILE).stat().st_mtime_ns
    assert gathered(Config(), tmp_path).speed == SPEEDS[PI_4]
    assert gathered(Config(), tmp_path, only_on_disk=False).speed == SPEEDS[PI_4]
    assert (state / FILE).stat().st_mtime_ns == written


def test_two_recognisers_are_a_choice_as_well(tmp_path: Path, state: Path) -> None:
    for name in ("whisper-tiny.en", "whisper-base.en"):
        put(read(), name, tmp_path)
    assert state.is_dir()
    assert gathered(Config(), tmp_path).speed == SPEEDS[PI_4]


@pytest.mark.parametrize("config", [Config(), TINY_OWN], ids=["nothing on disk", "all named"])
def test_without_a_choice_none_is_measured(config: Config, tmp_path: Path, state: Path) -> None:
    (state / FILE).unlink()
    facts = gathered(config, tmp_path)
    assert facts.speed is None
    assert list(state.iterdir()) == []
    assert select(facts).fits


# ---------------------------------------------------------------- the configuration


def test_a_plan_completes_the_configuration(tmp_path: Path) -> None:
    config = in_folder(Config(), tmp_path)
    facts = facts_of(config, PI_4, 1)
    plan = select(facts)
    assert plan.stt is not None
    assert plan.tts is not None
    applied = planner.apply(config, facts, plan)
    assert (applied.llm.model, applied.stt.model, applied.tts.model) == (
        plan.llm.name,
        plan.stt.name,
        plan.tts.name,
    )
    assert (applied.llm.context_tokens, applied.llm.kv_type) == (plan.context_tokens, plan.kv_type)
    assert applied.llm.context_tokens < config.llm.context_tokens
    # Nothing else changes.
    assert (applied.stt.threads, applied.llm.threads, applied.tts.threads) == (4, 4, 2)
    assert applied.vad.second_opinion is plan.has_second_opinion
    as_before = msgspec.structs.replace(
        applied,
        vad=config.vad,
        stt=config.stt,
        tts=config.tts,
        llm=msgspec.structs.replace(
            applied.llm, model="auto", context_tokens=2048, kv_type="auto", threads=0
        ),
    )
    assert as_before == config


def test_what_the_user_named_stays(tmp_path: Path) -> None:
    config = in_folder(TINY_OWN, tmp_path)
    facts = facts_of(config, PI_4, 4)
    applied = planner.apply(config, facts, select(facts))
    for kind in ("stt", "llm", "tts"):
        assert getattr(applied, kind).model == getattr(config, kind).model


def test_a_plan_without_a_voice_names_the_least(tmp_path: Path) -> None:
    config = in_folder(Config(), tmp_path)
    facts = facts_of(config, PI_4, 0.5)
    plan = select(facts)
    assert not plan.has_voice
    applied = planner.apply(config, facts, plan)
    assert (applied.stt.model, applied.tts.model) == ("whisper-tiny.en", "en_US-amy-low")


def test_a_language_without_a_voice_leaves_it_open(tmp_path: Path) -> None:
    config = in_folder(Config(stt=Stt(language="zh")), tmp_path)
    facts = facts_of(config, PI_4, 4)
    applied = planner.apply(config, facts, select(facts))
    assert (applied.stt.model, applied.tts.model) == ("whisper-tiny", "auto")


def test_test_models_are_named_by_their_paths(tmp_path: Path) -> None:
    config = Config(models=Models(folder=str(tmp_path)))
    facts = gathered(config, tmp_path)
    applied = planner.apply(config, facts, select(facts))
    for kind in KINDS:
        assert Path(getattr(applied, kind).model) == TINY / locate.TEST_NAMES[kind]
