"""`assistant models` on a folder that holds something whole, something half fetched and something damaged."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import small_catalogue

from assistant.board.recognise import recognise
from assistant.board.speed import FILE, KeptSpeed, Speed
from assistant.catalogue import disk
from assistant.catalogue.locate import TEST_MODELS, TEST_NAMES
from assistant.catalogue.read import ModelFile, current, read
from assistant.cli import models
from assistant.cli.models.progress import Lines
from assistant.cli.models.pull import misfit, pull, wanted_by_plan
from assistant.errors import ConfigError, DownloadError, ModelError, NoRoomError
from assistant.plan.candidates import Candidate
from assistant.plan.sets import Facts

CATALOGUE = read()
OWN = {kind: str(TEST_MODELS / name) for kind, name in TEST_NAMES.items()}
COMMAND = [sys.executable, "-m", "assistant"]


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A speed of this board that was measured before: none is measured, nothing is written."""
    folder = tmp_path_factory.mktemp("state")
    board = recognise()
    speed = KeptSpeed(board.name, board.cores, board.nominal_gb, Speed(12e9, 80e9))
    (folder / FILE).write_bytes(msgspec.json.encode(speed))
    monkeypatch.setenv("STATE_DIRECTORY", str(folder))


def run(folder: Path, *words: str, stt: str = "auto", llm: str = "auto", tts: str = "auto") -> int:
    config = folder.parent / "config.toml"
    lines = [f'[{kind}]\nmodel = "{name}"' for kind, name in (("stt", stt), ("llm", llm), ("tts", tts))]
    config.write_text("\n".join([*lines, f'[models]\nfolder = "{folder}"']))
    parser = argparse.ArgumentParser()
    models.arguments(parser)
    return models.run(parser.parse_args(words, argparse.Namespace(config=config)))


def put(
    name: str, folder: Path, file_number: int = 0, size_bytes: int | None = None, suffix: str = ""
) -> None:
    """A file of the right (or another) size with nothing but zeros in it."""
    file = CATALOGUE.entry(name).files[file_number]
    place = folder / name / (file.name + suffix)
    place.parent.mkdir(exist_ok=True)
    place.touch()
    os.truncate(place, file.size_bytes if size_bytes is None else size_bytes)


def test_the_list_says_what_is_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("gpt2-q8_0", tmp_path)
    put("llama-2-7b-chat-q4_k_m", tmp_path, size_bytes=7)
    put("en_US-amy-medium", tmp_path)
    put("en_US-ryan-low", tmp_path, size_bytes=7, suffix=".part")
    assert run(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "RAM", "FITS", "ON", "DISK", "LANGUAGE", "LICENCE"]
    rows = {line[2:].split()[0]: line[2:].split() for line in lines[1 : len(CATALOGUE.models) + 1]}
    assert rows.keys() == {entry.name for entry in CATALOGUE.models}
    # How much memory it takes, and whether that fits, depends on the board.
    assert rows["gpt2-q8_0"] == ["gpt2-q8_0", "178", *rows["gpt2-q8_0"][2:4], "yes", "en", "MIT"]
    assert int(rows["gpt2-q8_0"][2]) > 178
    assert rows["llama-2-7b-chat-q4_k_m"][4] == "damaged"
    assert rows["en_US-amy-medium"][4] == "partly"
    assert rows["en_US-ryan-low"][4] == "partly"
    assert rows["whisper-base.en"][4] == "no"
    assert any(str(tmp_path) in line for line in lines)
    assert [line.split()[0] for line in lines[-3:]] == ["stt", "llm", "tts"]
    # What is damaged is not passed over in silence.
    assert "a small test model" in lines[-3]
    assert "is damaged: it has 7 bytes" in lines[-2]
    assert "a small test model" in lines[-1]


def test_verify_tells_the_right_size_from_the_right_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("en_US-amy-medium", tmp_path, file_number=1)
    assert run(tmp_path, "verify") == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "en_US-amy-medium: en_US-amy-medium.onnx is missing, en_US-amy-medium.onnx.json is damaged"
    )
    assert "`assistant models pull en_US-amy-medium`" in said


def test_verify_names_an_interrupted_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("en_US-ryan-low", tmp_path, size_bytes=7_000_000, suffix=".part")
    assert run(tmp_path, "verify") == 1
    assert capsys.readouterr().out == (
        "en_US-ryan-low: its download was interrupted at 7 MB of 63 MB; "
        "`assistant models pull en_US-ryan-low` goes on with it.\n"
    )


def test_an_empty_part_is_no_download(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("en_US-ryan-low", tmp_path, size_bytes=0, suffix=".part")
    assert run(tmp_path, "verify") == 0
    assert "There are no models" in capsys.readouterr().out


def test_a_model_in_use_that_cannot_be_is_told_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, llm="/no/such.gguf", stt="whisper-base.en") == 0
    said = capsys.readouterr().out
    assert "There is no plan: There is no language model /no/such.gguf; " in said
    assert not any(line.startswith("*") for line in said.splitlines())
    stt, llm, tts = said.splitlines()[-3:]
    assert "The model whisper-base.en is not on disk" in stt
    assert "There is no language model /no/such.gguf" in llm
    assert "en_US-tiny-medium" in tts


def test_verify_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "verify") == 0
    assert "There are no models" in capsys.readouterr().out


def test_verify_of_a_file_whose_hash_nobody_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put("orca-mini-3b-q4_0", tmp_path)
    assert run(tmp_path, "verify") == 0
    assert (
        capsys.readouterr().out
        == "orca-mini-3b-q4_0: the size is right; no hash is known to compare it with.\n"
    )


@pytest.mark.parametrize("words", [["pull"], ["pull", "--plan"]])
def test_pull_without_names_takes_what_the_plan_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="Connection refused"):
        run(tmp_path, *words, stt="whisper-tiny.en", llm=OWN["llm"], tts="en_US-amy-low")
    # the smallest first: the voice
    assert "\nen_US-amy-low (63 MB, licence: " in capsys.readouterr().out


def test_pull_where_nothing_fits_fetches_nothing(tmp_path: Path) -> None:
    catalogue = read()
    shape = catalogue.shape(catalogue.entry("gpt2-q8_0"))
    llm = Candidate("llm", "gpt2-q8_0", "gpt2-q8_0", shape, 170_000_000, on_disk=False)
    facts = Facts(budget_bytes=100 * 2**20, cores=4, repacked=frozenset(), stt=(), llm=(llm,), tts=())
    with pytest.raises(NoRoomError) as caught:
        wanted_by_plan(facts, catalogue)
    assert re.fullmatch(
        r"Nothing fits: even the smallest set needs \d+ MiB, and 100 are there; "
        r"close other programs, or name what is to be fetched\.",
        str(caught.value),
    )
    assert re.fullmatch(
        r"it takes \d+ MiB beside the rest, of 100 in all",
        misfit(facts, catalogue, tmp_path, catalogue.entry("gpt2-q8_0")),
    )
    roomy = msgspec.structs.replace(facts, budget_bytes=2**30)
    assert wanted_by_plan(roomy, catalogue) == [catalogue.entry("gpt2-q8_0")]
    assert misfit(roomy, catalogue, tmp_path, catalogue.entry("gpt2-q8_0")) == ""


def test_pull_of_a_name_does_not_ask_for_what_config_toml_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody whose config.toml names a file that is gone could fetch another."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DownloadError, match="Connection refused"):
        run(tmp_path, "pull", "gpt2-q8_0", llm="/no/such.gguf")
    with pytest.raises(ModelError, match=r"There is no language model /no/such\.gguf"):
        run(tmp_path, "pull", llm="/no/such.gguf")


def test_pull_checks_everything_before_it_fetches_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk, "SPARE_BYTES", 10**18)
    with pytest.raises(DownloadError, match=r"Fetching gpt2-q8_0, whisper-tiny takes .*make room"):
        run(tmp_path, "pull", "gpt2-q8_0", "whisper-tiny")
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    with pytest.raises(DownloadError, match="HF_ENDPOINT"):
        run(tmp_path, "pull")
    with pytest.raises(ConfigError, match="takes names or --plan, not both"):
        run(tmp_path, "pull", "gpt2-q8_0", "--plan")
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_pull_warns_of_a_model_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "catalogue.updated.toml").write_text(small_catalogue.text())
    small_catalogue.put("brain", tmp_path)
    small_catalogue.put("voice", tmp_path)
    entries = [current(tmp_path).entry(name) for name in ("brain", "voice")]
    reasons = {"brain": "it takes 5 GB of 4 GB", "voice": ""}
    pulled = pull(entries, tmp_path, False, lambda entry: reasons[entry.name])
    said = capsys.readouterr()
    assert said.err == (
        "Warning: this board cannot run brain (it takes 5 GB of 4 GB); it is fetched all the same.\n"
    )
    assert f"in {tmp_path / 'brain' / 'brain.Q8_0.gguf'}" in said.out
    assert pulled == 0


def test_pull_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "pull", **OWN) == 0
    assert capsys.readouterr().out == "The plan takes files of your own alone; there is nothing to fetch.\n"


def test_pull_refuses_an_unknown_name_before_it_fetches_anything(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean whisper"):
        run(tmp_path, "pull", "gpt2-q8_0", "whisper-teeny")
    assert list(tmp_path.iterdir()) == []


def test_pull_refuses_a_file_whose_hash_nobody_states(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="--allow-unverified"):
        run(tmp_path, "pull", "orca-mini-3b-q4_0")


class _Mirror(BaseHTTPRequestHandler):
    """Gives the files of the small catalogue."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        body = next(files[name] for files in small_catalogue.MODELS.values() if name in files)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        pass


@contextlib.contextmanager
def mirror() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Mirror) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_the_plan_is_fetched_and_then_is_on_disk(tmp_path: Path) -> None:
    """Real processes, from a folder that holds nothing but a list of models."""
    folder, config = tmp_path / "models", tmp_path / "config.toml"
    folder.mkdir()
    (folder / "catalogue.updated.toml").write_text(small_catalogue.text())
    config.write_text(f'[models]\nfolder = "{folder}"\n')

    def models_command(*words: str, endpoint: str = "http://127.0.0.1:1") -> str:
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "no_proxy": "*"}
        command = [*COMMAND, "--config", str(config), "models", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert "\n`assistant models pull --plan` fetches what is missing, 8 kB. Until then: " in models_command(
        "plan"
    )
    with mirror() as address:
        said = models_command("pull", "--plan", endpoint=address)
    assert small_catalogue.held(folder) == {
        name: small_catalogue.MODELS[name] for name in ("ear", "brain", "voice")
    }
    assert [line for line in said.splitlines() if line[:1] != " "] == [
        "3 models, 8 kB to fetch",
        "voice (1 kB, licence: MIT)",
        "ear (3 kB, licence: MIT)",
        "brain (4 kB, licence: MIT)",
    ]
    # Nobody listens any more, and nobody needs to.
    again = models_command("pull", "--plan")
    assert [line for line in again.splitlines() if "%" not in line] == [
        "voice (1 kB, licence: MIT) is on disk; checking it",
        f"  in {folder}/voice/voice.onnx",
        "ear (3 kB, licence: MIT) is on disk; checking it",
        f"  in {folder}/ear",
        "brain (4 kB, licence: MIT) is on disk; checking it",
        f"  in {folder}/brain/brain.Q8_0.gguf",
    ]
    assert models_command("plan").splitlines()[-1] == "All of it is on disk."
    rows = [line[2:].split() for line in models_command().splitlines() if line[:2] == "* "][:3]
    assert [(row[0], row[4]) for row in rows] == [("ear", "yes"), ("brain", "yes"), ("voice", "yes")]


def test_progress_in_a_pipe_is_a_line_a_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    file = ModelFile("a/m.gguf", 2_000_000, "missing")
    lines = Lines()
    for done_bytes in range(1, file.size_bytes + 1, 333):
        lines.reached(file, done_bytes)
    lines.reached(file, file.size_bytes)
    lines.note("m.gguf came damaged.")
    said = capsys.readouterr().out.splitlines()
    assert said == [f"  m.gguf: {n} % of 2 MB" for n in range(10, 101, 10)] + ["  m.gguf came damaged."]


def test_remove_says_how_much_room_that_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put("gpt2-q8_0", tmp_path)
    put("en_US-ryan-low", tmp_path, size_bytes=7_000_000, suffix=".part")
    assert run(tmp_path, "remove", "gpt2-q8_0", "en_US-ryan-low", "gpt2-q8_0") == 0
    assert capsys.readouterr().out == (
        "gpt2-q8_0: removed, which frees 178 MB\nen_US-ryan-low: removed, which frees 7 MB\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("whisper-base.en", r"is what stt\.model in config\.toml asks for"),
        ("en_US-amy-medium", "is not in .* nothing to remove"),
        ("gpt2-q8", "did you mean gpt2-q8_0"),
    ],
)
def test_remove_deletes_all_or_nothing(tmp_path: Path, other: str, said: str) -> None:
    put("gpt2-q8_0", tmp_path)
    put("whisper-base.en", tmp_path)
    with pytest.raises(ModelError, match=said):
        run(tmp_path, "remove", "gpt2-q8_0", other, stt="whisper-base.en")
    assert (tmp_path / "gpt2-q8_0").exists()


def test_import_tells_what_came_and_what_did_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, stick = tmp_path / "models", tmp_path / "stick"
    folder.mkdir()
    (folder / "catalogue.updated.toml").write_text(small_catalogue.text())
    small_catalogue.put("voice", folder)
    for name in ("brain", "voice"):
        small_catalogue.put(name, stick)
    small_catalogue.put("ear", stick, without="config.json")
    (stick / "catalogue.toml").write_text(small_catalogue.text("2099-12-31"))
    assert run(folder, "import", str(stick)) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-3:] == [
        "brain: imported (4 kB, licence: MIT)",
        "voice: was there already",
        f"{stick}/catalogue.toml is left alone; `assistant models update {stick}/catalogue.toml` takes it.",
    ]
    assert said.err == "ear: config.json is missing; it was not imported.\n"
    assert f"{current(folder).updated}" == "2099-01-01"
    assert run(folder, "import", str(stick), "brain") == 0


def test_import_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no model of the catalogue in"):
        run(tmp_path, "import", str(tmp_path))


def test_update_takes_a_newer_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, newer = tmp_path / "models", tmp_path / "newer.toml"
    newer.write_text(small_catalogue.text(f"{CATALOGUE.updated}"))
    assert run(folder, "update", str(newer)) == 0
    assert capsys.readouterr().out == (
        f"The list of models is now that of {CATALOGUE.updated}: 5 models, 5 of them new, "
        f"{len(CATALOGUE.models)} gone.\n"
    )
    assert run(folder, "update", str(newer)) == 0
    assert f"of {CATALOGUE.updated} already; there is nothing to do" in capsys.readouterr().out
    assert run(folder) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:2] == "* "][:3] == [
        "ear",
        "brain",
        "voice",
    ]


def test_update_needs_to_know_from_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a file or an address") as caught:
        run(tmp_path, "update")
    assert caught.value.exit_code == 2
