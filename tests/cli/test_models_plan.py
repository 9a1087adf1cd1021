"""`assistant models plan` and the list: what they print, for people and for programs."""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from command_line import COMMAND, MODELS, assistant, said, toml

from assistant.board.recognise import GIB, Board, recognise
from assistant.board.speed import FILE, KeptSpeed, Speed
from assistant.catalogue.read import read
from assistant.cli.models.listing import table
from assistant.cli.models.plan import memory_size
from assistant.config import Config, Models
from assistant.plan import planner
from assistant.plan.selection import select
from assistant.plan.sets import Facts

CATALOGUE = read()
TINY_CHAT = MODELS / "tiny-chat-q8_0.gguf"
SPEED = Speed(4.7e9, 25e9)
"""About that of a Pi 4."""

KEYS: dict[str, type | set[str]] = {
    "board": {"name", "memory_bytes", "cores"},
    "budget_bytes": int,
    "fits": bool,
    "voice": bool,
    "models": {"stt", "llm", "tts"},
    "context_tokens": int,
    "kv_type": str,
    "threads": {"stt", "llm", "tts"},
    "processes": {"daemon", "vad", "stt", "llm", "tts"},
    "total_bytes": int,
    "left_bytes": int,
    "tokens_per_s": float,
    "reasons": list,
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the speed of this board is kept; it says that of a Pi 4."""
    folder = tmp_path / "state"
    folder.mkdir()
    board = recognise()
    kept = KeptSpeed(board.name, board.cores, board.nominal_gb, SPEED)
    (folder / FILE).write_bytes(msgspec.json.encode(kept))
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))
    return folder


def facts_of(board: Board, memory_bytes: int, folder: Path) -> Facts:
    """Of a board that is sold with so much memory and does nothing else."""
    config = Config(models=Models(folder=str(folder)))
    budget = planner.budget_of_board(memory_bytes)
    return planner.gather(config, budget, only_on_disk=False, board=board, speed=SPEED)


def plan(
    folder: Path, memory: str, *words: str, config: str = "", exit_code: int = 0
) -> subprocess.CompletedProcess[str]:
    """`assistant models plan --memory` with an empty folder of models, for a `config` that is more TOML."""
    path = toml(folder, f'{config}\n[models]\nfolder = "{folder / "models"}"\n')
    done = assistant("models", "plan", "--memory", memory, *words, config=path)
    assert (done.returncode, done.stderr) == (exit_code, "")
    return done


# ---------------------------------------------------------------- for programs


@pytest.mark.parametrize("memory", ["512M", "1G", "2G", "4G", "8G", "16G"])
def test_the_plan_for_programs(memory: str, tmp_path: Path) -> None:
    # On a processor that rearranges weights 512 MB do not suffice.
    facts = facts_of(recognise(), memory_size(memory), tmp_path / "models")
    expected = select(facts)
    tree = json.loads(plan(tmp_path, memory, "--json", exit_code=0 if expected.fits else 1).stdout)
    models = [model for model in (expected.stt, expected.llm, expected.tts) if model is not None]
    assert tree["models"] == {
        model.kind: {
            "name": model.name,
            "on_disk": False,
            "download_bytes": CATALOGUE.entry(model.name).size_bytes,
        }
        for model in models
    }
    voice = memory != "512M"
    assert (tree["fits"], tree["voice"]) == (expected.fits, voice)
    assert list(tree) == list(KEYS)
    for key, kind in KEYS.items():
        if isinstance(kind, type):
            assert isinstance(tree[key], kind), key
        else:
            assert tree[key].keys() == kind - (set() if voice else {"stt", "tts", "vad"}), key
    assert tree["board"]["memory_bytes"] == memory_size(memory)
    assert tree["budget_bytes"] == planner.budget_of_board(memory_size(memory))
    assert tree["left_bytes"] == tree["budget_bytes"] - tree["total_bytes"]
    assert tree["fits"] == (tree["left_bytes"] >= 0)
    resting = sum(need["resting_bytes"] for need in tree["processes"].values())
    assert resting <= tree["total_bytes"] <= sum(need["peak_bytes"] for need in tree["processes"].values())
    assert all(re.fullmatch(r"\S.+\.", reason) for reason in tree["reasons"])


def test_what_does_not_fit_for_programs(tmp_path: Path) -> None:
    tree = json.loads(plan(tmp_path, "100M", "--json", exit_code=1).stdout)
    assert list(tree) == list(KEYS)
    assert (tree["fits"], tree["budget_bytes"]) == (False, 0)
    assert tree["left_bytes"] == -tree["total_bytes"] < 0
    assert tree["reasons"][0].startswith("Nothing fits: ")


def test_without_a_choice_there_is_no_speed(tmp_path: Path, state: Path) -> None:
    names = {"stt": "whisper-tiny.en", "llm": "gpt2-q8_0", "tts": "en_US-amy-low"}
    config = "".join(f'[{kind}]\nmodel = "{name}"\n' for kind, name in names.items())
    (state / FILE).unlink()
    tree = json.loads(plan(tmp_path, "2G", "--json", config=config).stdout)
    assert {kind: model["name"] for kind, model in tree["models"].items()} == names
    assert tree["tokens_per_s"] is None
    assert "tokens (kv_type f16).\n" in plan(tmp_path, "2G", config=config).stdout
    assert list(state.iterdir()) == []


# ---------------------------------------------------------------- for people


@pytest.mark.parametrize(
    ("memory", "called"),
    [
        ("512M", "512 MB"),
        ("1G", "1 GB"),
        ("2G", "2 GB"),
        ("4G", "4 GB"),
        ("8G", "8 GB"),
        ("1.5GiB", "1.5 GB"),
    ],
)
def test_the_plan_for_people(memory: str, called: str, tmp_path: Path) -> None:
    text = plan(tmp_path, memory).stdout
    tree = json.loads(plan(tmp_path, memory, "--json").stdout)
    may, left, total = (f"{tree[key] / 2**20:,.0f}" for key in ("budget_bytes", "left_bytes", "total_bytes"))
    assert text.startswith(f"A board with {called} and the speed of this one (")
    assert f": the assistant may take {may} MiB.\n" in text
    assert f"\n{left} MiB are left, as only one process at a time takes its most.\n" in text
    rows = [line.split() for line in text.split("\n\n")[1].splitlines()]
    assert rows[0] == ["PROCESS", "MODEL", "ON", "DISK", "MiB", "AT", "MOST"]
    assert [row[0] for row in rows[1:]] == [*tree["processes"], "in"]
    assert rows[-1] == ["in", "all", total]
    named = {row[0]: row[1] for row in rows if row[0] in tree["models"]}
    assert named == {kind: model["name"] for kind, model in tree["models"].items()}
    assert f"a context of {tree['context_tokens']} tokens (kv_type {tree['kv_type']})" in text
    assert text.split("\nWhy not more:\n")[1].splitlines() == [f"  {reason}" for reason in tree["reasons"]]


@pytest.mark.parametrize(
    ("name", "board", "llm"),
    [
        ("pi4", "Raspberry Pi 4 Model B", "tinyllama-1.1b-chat-q5_k_m"),
        ("Pi 5", "Raspberry Pi 5", "tinyllama-1.1b-chat-q8_0"),
    ],
)
def test_another_board_at_its_own_speed(name: str, board: str, llm: str, tmp_path: Path, state: Path) -> None:
    (state / FILE).unlink()
    tree = json.loads(plan(tmp_path, "4G", "--board", name, "--json").stdout)
    assert tree["board"] == {"name": board, "memory_bytes": 4 * GIB, "cores": 4}
    assert tree["models"]["llm"]["name"] == llm
    text = plan(tmp_path, "4G", "--board", name).stdout
    assert text.startswith(f"{board} with 4 GB, 4 cores: the assistant may take ")
    assert list(state.iterdir()) == []  # nothing was measured here


def test_a_board_that_nobody_measured() -> None:
    done = assistant("models", "plan", "--memory", "4G", "--board", "pi 9")
    assert done.returncode == 2
    assert done.stderr.endswith('argument --board: "pi 9" is not a board that was measured: pi4, pi5\n')
    assert said(assistant("models", "plan", "--board", "pi4"), exit_code=2) == (
        "`assistant models plan --board` needs to know the board's memory; add --memory 4G."
    )


def test_not_enough_is_said_at_once(tmp_path: Path) -> None:
    lines = plan(tmp_path, "100M", exit_code=1).stdout.splitlines()
    assert lines[0].startswith("A board with 100 MB ")
    assert re.fullmatch(r"Nothing fits: even the smallest set needs \d+ MiB, and 0 are there\.", lines[2])
    assert lines[-1] == "Take a board with more memory, or ask for smaller models in config.toml."
    assert not any("tokens" in line or "left" in line or "Why" in line for line in lines)


@pytest.mark.parametrize(
    ("language", "stt", "llm", "tts"),
    [
        ("de", "whisper-tiny", "qwen2.5-1.5b-instruct-q4_k_m", "de_DE-thorsten-medium"),
        ("zh", None, "qwen2.5-1.5b-instruct-q4_k_m", None),
        ("it", None, "qwen2.5-1.5b-instruct-q4_k_m", None),
    ],
)
def test_languages(language: str, stt: str | None, llm: str, tts: str | None, tmp_path: Path) -> None:
    config = f'[plan]\nprefer = "quality"\n[stt]\nlanguage = "{language}"\n'
    tree = json.loads(plan(tmp_path, "4G", "--json", config=config).stdout)
    named = {kind: model["name"] for kind, model in tree["models"].items()}
    assert named == {kind: name for kind, name in {"stt": stt, "llm": llm, "tts": tts}.items() if name}
    if tts is None:
        assert tree["reasons"] == [
            f'"auto" has no voice for the language "{language}": questions are typed and answers read; '
            "name one in tts.model."
        ]


def test_what_is_preferred_counts(tmp_path: Path) -> None:
    named = {}
    for prefer in ("speed", "balanced", "quality"):
        tree = json.loads(plan(tmp_path, "8G", "--json", config=f'[plan]\nprefer = "{prefer}"\n').stdout)
        named[prefer] = tree["models"]["llm"]["name"]
        assert all(f'plan.prefer = "{prefer}"' in reason for reason in tree["reasons"])
    assert named == {
        "speed": "smollm2-360m-instruct-q8_0",
        "balanced": "tinyllama-1.1b-chat-q5_k_m",
        "quality": "llama-2-7b-chat-q5_k_m",
    }


# ---------------------------------------------------------------- models that config.toml names


@pytest.mark.parametrize(
    ("model", "name", "on_disk"), [("gpt2-q8_0", "gpt2-q8_0", False), (str(TINY_CHAT), TINY_CHAT.name, True)]
)
def test_a_model_that_is_named_is_the_one(model: str, name: str, on_disk: bool, tmp_path: Path) -> None:
    tree = json.loads(plan(tmp_path, "2G", "--json", config=f'[llm]\nmodel = "{model}"\n').stdout)
    download_bytes = 0 if on_disk else CATALOGUE.entry(name).size_bytes
    assert tree["models"]["llm"] == {"name": name, "on_disk": on_disk, "download_bytes": download_bytes}


def test_one_that_is_too_large(tmp_path: Path) -> None:
    done = plan(tmp_path, "2G", config='[llm]\nmodel = "orca-mini-3b-q4_0"\n', exit_code=1)
    assert re.search(
        r"^Nothing fits: even the smallest set needs 2,\d+ MiB, and 1,614 are there\.$", done.stdout, re.M
    )


HOSTILE = b"GGUF" + struct.pack("<IQQ", 3, 2**63, 2**63) + b"\xff" * 100


@pytest.mark.parametrize(
    "command", [["plan"], ["plan", "--memory", "4G"], ["plan", "--json"], ["pull", "--plan"]]
)
@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("/no/such.gguf", "There is no language model /no/such.gguf; give the path of another, or a name"),
        ("{folder}/hostile.gguf", "The model file {folder}/hostile.gguf is not plausible: "),
        ("gpt2-q9_0", 'There is no llm model "gpt2-q9_0"; did you mean gpt2-q8_0?'),
        ("gpt-omega", 'There is no llm model "gpt-omega"; `assistant models` lists those that there are.'),
    ],
)
def test_one_that_cannot_be(command: list[str], model: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "hostile.gguf").write_bytes(HOSTILE)
    config = toml(tmp_path, f'[llm]\nmodel = "{model}"\n'.replace("{folder}", str(tmp_path)))
    assert sentence.replace("{folder}", str(tmp_path)) in said(assistant("models", *command, config=config))


def test_the_list_helps_whoever_named_one_that_cannot_be(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[llm]\nmodel = "gpt-omega"\n[models]\nfolder = "{tmp_path / "models"}"\n')
    done = assistant("models", config=config)
    assert (done.returncode, done.stderr) == (0, "")
    assert '\nThere is no plan: There is no llm model "gpt-omega"; `assistant models` lists' in done.stdout
    assert "\n  gpt2-q8_0 " in done.stdout


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("4G", 4 * GIB),
        ("512M", GIB // 2),
        ("512m", GIB // 2),
        (" 1.5GB ", 3 * GIB // 2),
        ("2 GiB", 2 * GIB),
        ("999999G", 999_999 * GIB),
    ],
)
def test_a_size_of_memory(text: str, size_bytes: int) -> None:
    assert memory_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    [
        "0G",
        "0.000M",
        "-1G",
        "4Q",
        "4",
        "G",
        "",
        " ",
        "1e9G",
        "99999999G",
        "1.2345G",
        "4GG",
        "infG",
        "nanG",
        "4G\n5G",
    ],
)
def test_no_size_of_memory(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        memory_size(text)
    assert str(caught.value) == f'"{text}" is no size of memory; write it like 4G or 512M'


@pytest.mark.parametrize("word", ["--memory=0G", "--memory=-1G", "--memory=4Q", "--memory="])
def test_a_wrong_size_is_a_wrong_word(word: str) -> None:
    done = assistant("models", "plan", word)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith("is no size of memory; write it like 4G or 512M")
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- the list


def rows_of(folder: Path, gb: float, planned: frozenset[str] = frozenset()) -> tuple[list[str], list[str]]:
    """The rows of the table, and the notes below it."""
    board = Board("Raspberry Pi 4 Model B", int(gb * GIB), gb, 4, "aarch64", frozenset())
    lines = list(table(CATALOGUE, facts_of(board, board.memory_bytes, folder), set(planned), folder))
    cut = lines.index("")
    return lines[1:cut], lines[cut + 1 :]


@pytest.mark.parametrize(
    ("gb", "name", "fits"),
    [
        (4, "tinyllama-1.1b-chat-q5_k_m", "yes"),
        (4, "tinyllama-1.1b-chat-q8_0", "slow"),
        (4, "whisper-small.en", "slow"),
        (4, "llama-2-7b-chat-q5_k_m", "no"),
        (8, "llama-2-7b-chat-q5_k_m", "slow"),
        (1, "smollm2-135m-instruct-q8_0", "yes"),
        (1, "smollm2-360m-instruct-q8_0", "text"),
        (1, "tinyllama-1.1b-chat-q5_k_m", "no"),
        (0.5, "en_US-amy-medium", "no"),
    ],
)
def test_the_list_says_what_fits(gb: float, name: str, fits: str, tmp_path: Path) -> None:
    rows, _ = rows_of(tmp_path, gb)
    (row,) = (row.split() for row in rows if row[2:].startswith(f"{name} "))
    assert row[3] == fits


@pytest.mark.parametrize("gb", [0.5, 1, 4, 16])
def test_the_table_fits_a_terminal_and_tells_all_licences(gb: float, tmp_path: Path) -> None:
    planned = frozenset({"tinyllama-1.1b-chat-q5_k_m"})
    rows, notes = rows_of(tmp_path, gb, planned)
    assert max(map(len, rows)) <= 80
    assert [row[2:].split()[0] for row in rows] == [entry.name for entry in CATALOGUE.models]
    assert {row.split()[1] for row in rows if row.startswith("* ")} == planned
    told = dict(note.split(" ", 1) for note in notes)
    for row, entry in zip(rows, CATALOGUE.models, strict=True):
        licence = row.split()[-1]
        licence = told.get(licence, licence)
        assert licence == entry.licence + ("" if entry.commercial else "; never taken by auto")
    assert len(set(told.values())) == len(notes)


def test_the_list_stops_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[models]\nfolder = "{tmp_path / "models"}"\n')
    command = [*COMMAND, "--config", str(config), "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_list_loads_nothing_heavy(tmp_path: Path) -> None:
    """It is to be there at once: no engine, no numpy."""
    config = toml(tmp_path, f'[models]\nfolder = "{tmp_path / "models"}"\n')
    script = (
        "import sys; from assistant.cli import main; "
        f"main(['--config', {str(config)!r}, 'models']); print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ)
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "assistant.plan.selection" in loaded
    assert not loaded & {"numpy", "llama_cpp", "faster_whisper", "onnxruntime", "rich"}
