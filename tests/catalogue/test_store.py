"""Models are removed without a trace of anything else, and come from a stick whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_catalogue import MODELS, held, put, text

from assistant.catalogue import disk
from assistant.catalogue.read import ModelFile, parse
from assistant.catalogue.store import DEPTH, Imported, import_models, remove, require_removable
from assistant.config import Config, Llm, Stt
from assistant.errors import DownloadError, ModelError

CATALOGUE = parse(text().encode(), "for tests")


class Heard:
    """A `Progress` that remembers."""

    def __init__(self) -> None:
        self.reached_bytes: dict[str, int] = {}
        self.notes: list[str] = []

    def reached(self, file: ModelFile, done_bytes: int) -> None:
        assert 0 < done_bytes <= file.size_bytes
        self.reached_bytes[file.name] = done_bytes

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


def bring(stick: Path, folder: Path, *names: str) -> Imported:
    return import_models(stick, CATALOGUE, names, folder, Heard())


def names_of(imported: Imported) -> tuple[list[str], list[str]]:
    return [entry.name for entry in imported.came], [entry.name for entry in imported.there]


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    path = tmp_path / "stick"
    path.mkdir()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    path.mkdir()
    return path


# ---------------------------------------------------------------- remove


def test_a_model_goes_and_the_others_stay(folder: Path) -> None:
    put("ear", folder)
    put("voice", folder)
    freed_bytes = remove(CATALOGUE.entry("ear"), folder)
    assert freed_bytes == CATALOGUE.entry("ear").size_bytes
    assert held(folder) == {"voice": MODELS["voice"]}


def test_a_part_of_a_model_goes_too(folder: Path) -> None:
    (folder / "brain").mkdir()
    (folder / "brain" / "brain.Q8_0.gguf.part").write_bytes(b"GGUF")
    assert remove(CATALOGUE.entry("brain"), folder) == 4
    assert held(folder) == {}


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    elsewhere = put("ear", tmp_path / "elsewhere")
    (folder / "ear").symlink_to(elsewhere)
    put("voice", folder)
    (folder / "voice" / "more").symlink_to(elsewhere)
    assert remove(CATALOGUE.entry("ear"), folder) == 0
    assert remove(CATALOGUE.entry("voice"), folder) == CATALOGUE.entry("voice").size_bytes
    assert list(folder.iterdir()) == []
    assert held(tmp_path / "elsewhere") == {"ear": MODELS["ear"]}


def test_a_link_to_nowhere_goes_and_a_file_stays(folder: Path) -> None:
    (folder / "ear").symlink_to(folder / "nowhere")
    (folder / "brain").write_text("in the way")
    require_removable([CATALOGUE.entry("ear")], folder, Config())
    assert remove(CATALOGUE.entry("ear"), folder) == 0
    with pytest.raises(ModelError, match="brain is a file, no folder of a model"):
        remove(CATALOGUE.entry("brain"), folder)
    assert [path.name for path in folder.iterdir()] == ["brain"]


def test_what_is_being_fetched_stays(folder: Path) -> None:
    part = put("brain", folder) / "brain.Q8_0.gguf.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelError, match="brain is being fetched by another process"):
            remove(CATALOGUE.entry("brain"), folder)
    assert part.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may delete anything")
def test_what_may_not_be_deleted_is_named(folder: Path) -> None:
    place = put("brain", folder)
    place.chmod(0o500)
    try:
        with pytest.raises(ModelError, match=r"brain cannot be removed: Permission denied; check"):
            remove(CATALOGUE.entry("brain"), folder)
    finally:
        place.chmod(0o700)


def test_only_what_is_there_and_not_asked_for_can_be_removed(folder: Path) -> None:
    for name in ("ear", "brain", "voice"):
        put(name, folder)
    config = Config(stt=Stt(model="ear"), llm=Llm(model=str(folder / "brain" / "brain.Q8_0.gguf")))
    for name, said in [
        ("ear", "The model ear is what stt.model in config.toml asks for; name another there"),
        ("brain", "The model brain is what llm.model in config.toml asks for"),
        ("small-ear", f"The model small-ear is not in {folder}, so there is nothing to remove."),
    ]:
        with pytest.raises(ModelError, match=re.escape(said)):
            require_removable([CATALOGUE.entry("voice"), CATALOGUE.entry(name)], folder, config)
    require_removable([CATALOGUE.entry("voice")], folder, config)


# ---------------------------------------------------------------- import: what comes


def test_the_models_folder_of_another_board_comes(stick: Path, folder: Path) -> None:
    for name in ("ear", "brain", "voice"):
        put(name, stick / "assistant" / "models")
    heard = Heard()
    imported = import_models(stick, CATALOGUE, [], folder, heard)
    assert names_of(imported) == (["ear", "brain", "voice"], [])
    assert imported.flaws == []
    assert held(folder) == {name: MODELS[name] for name in ("ear", "brain", "voice")}
    assert heard.notes == ["Reading ear.", "Reading brain.", "Reading voice."]
    assert heard.reached_bytes["model.bin"] == len(MODELS["ear"]["model.bin"])


def test_only_the_named_models_come(stick: Path, folder: Path) -> None:
    put("ear", stick)
    put("brain", stick)
    assert names_of(bring(stick, folder, "brain", "brain")) == (["brain"], [])
    assert held(folder) == {"brain": MODELS["brain"]}


def test_published_names_and_other_names_will_do(stick: Path, folder: Path) -> None:
    (stick / "brain.Q8_0.gguf").write_bytes(MODELS["brain"]["brain.Q8_0.gguf"])
    for number, content in enumerate(MODELS["ear"].values()):
        (stick / f"FILE{number}.DAT").write_bytes(content)
    assert names_of(bring(stick, folder)) == (["ear", "brain"], [])
    assert held(folder) == {name: MODELS[name] for name in ("ear", "brain")}


def test_models_that_share_files_both_come(stick: Path, folder: Path) -> None:
    put("ear", stick)
    put("small-ear", stick, without="tokenizer.json")  # that of the other is the same
    assert names_of(bring(stick, folder)) == (["ear", "small-ear"], [])
    assert held(folder) == {name: MODELS[name] for name in ("ear", "small-ear")}


@pytest.mark.parametrize("deep", [DEPTH, DEPTH + 1])
def test_folders_are_searched_so_deep_and_no_deeper(stick: Path, folder: Path, deep: int) -> None:
    place = stick.joinpath(*"abcdefgh"[:deep])
    place.mkdir(parents=True)
    (place / "brain.Q8_0.gguf").write_bytes(MODELS["brain"]["brain.Q8_0.gguf"])
    if deep > DEPTH:
        with pytest.raises(ModelError, match="no model of the catalogue"):
            bring(stick, folder)
    else:
        assert names_of(bring(stick, folder)) == (["brain"], [])


def test_what_is_complete_is_skipped_and_what_is_not_is_completed(stick: Path, folder: Path) -> None:
    for name in ("ear", "brain", "voice"):
        put(name, stick)
    put("ear", folder)
    put("voice", folder, without="voice.onnx.json")
    (put("brain", folder) / "brain.Q8_0.gguf").write_bytes(b"GGUF damaged")
    (folder / "brain" / "brain.Q8_0.gguf.part").write_bytes(b"what a download left")
    assert names_of(bring(stick, folder)) == (["brain", "voice"], ["ear"])
    assert held(folder) == {name: MODELS[name] for name in ("ear", "brain", "voice")}


def test_a_stick_of_links_to_files_is_read(stick: Path, folder: Path, tmp_path: Path) -> None:
    target = put("brain", tmp_path / "cache") / "brain.Q8_0.gguf"
    (stick / "link").symlink_to(target)
    (stick / "nowhere.gguf").symlink_to(stick / "none")
    (stick / "round").symlink_to(stick)
    os.mkfifo(stick / "voice.onnx")  # to open it would wait for ever
    assert names_of(bring(stick, folder)) == (["brain"], [])
    assert not (folder / "brain" / "brain.Q8_0.gguf").is_symlink()


# ---------------------------------------------------------------- import: what does not


def test_an_incomplete_model_is_named_with_what_is_missing(stick: Path, folder: Path) -> None:
    put("ear", stick, without="vocabulary.txt")
    put("voice", stick)
    imported = bring(stick, folder)
    assert names_of(imported) == (["voice"], [])
    assert imported.flaws == ["ear: vocabulary.txt is missing; it was not imported."]
    assert held(folder) == {"voice": MODELS["voice"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (MODELS["brain"]["brain.Q8_0.gguf"][:-1] + b"!", "is damaged (its SHA-256 is wrong)"),
        (MODELS["brain"]["brain.Q8_0.gguf"][:-1], "has 4023 bytes, not 4024"),
        (b"", "has 0 bytes, not 4024"),
    ],
)
def test_a_damaged_file_is_named(stick: Path, folder: Path, content: bytes, said: str) -> None:
    (stick / "brain.Q8_0.gguf").write_bytes(content)
    imported = bring(stick, folder)
    assert imported.flaws == [f"brain: {stick / 'brain.Q8_0.gguf'} {said}; it was not imported."]
    assert names_of(imported) == ([], [])
    assert held(folder) == {}


def test_the_name_of_a_folder_cannot_steer_a_terminal(stick: Path, folder: Path) -> None:
    (put("brain", stick / "\x1b[2J") / "brain.Q8_0.gguf").write_bytes(b"damaged")
    assert f"{stick}/?[2J/brain/brain.Q8_0.gguf has 7 bytes" in bring(stick, folder).flaws[0]


def test_a_right_copy_beside_a_damaged_one_is_taken(stick: Path, folder: Path) -> None:
    (put("brain", stick) / "brain.Q8_0.gguf").write_bytes(b"damaged")
    put("brain", stick / "again")
    assert bring(stick, folder).flaws == []
    assert held(folder) == {"brain": MODELS["brain"]}


def test_another_file_of_a_models_size_is_no_model(stick: Path, folder: Path) -> None:
    (stick / "film.mkv").write_bytes(bytes(len(MODELS["brain"]["brain.Q8_0.gguf"])))
    put("voice", stick)
    imported = bring(stick, folder)
    assert (names_of(imported), imported.flaws) == ((["voice"], []), [])


def test_a_file_whose_hash_nobody_states_does_not_come(stick: Path, folder: Path) -> None:
    put("nobody-knows", stick)
    assert bring(stick, folder).flaws == [
        "nobody-knows: no hash is known for nobody.Q8_0.gguf (give its path in config.toml instead); "
        "it was not imported."
    ]
    assert held(folder) == {}


def test_nothing_found_says_what_was_looked_for(stick: Path, folder: Path) -> None:
    (stick / "holiday.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(
        ModelError, match=rf"no model of the catalogue in {stick} .*such as ear/model\.bin, ear/"
    ):
        bring(stick, folder)
    imported = bring(stick, folder, "voice")
    assert imported.flaws == [
        f"voice: nothing of it is in {stick} (voice/voice.onnx, voice/voice.onnx.json)."
    ]


def test_a_stick_that_is_not_there(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelError, match="none cannot be read: No such file or directory; check its path"):
        bring(tmp_path / "none", folder)
    with pytest.raises(ModelError, match="did you mean brain"):
        bring(tmp_path, folder, "brian")


def test_too_little_room_is_told_before_anything_is_copied(
    stick: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SPARE_BYTES", 10**18)
    put("brain", stick)
    put("voice", stick)
    with pytest.raises(DownloadError, match=r"Importing brain, voice takes \d+ MB in .* are free; make room"):
        bring(stick, folder)
    assert held(folder) == {}


def test_a_file_that_another_process_fetches_is_left_to_it(stick: Path, folder: Path) -> None:
    put("brain", stick)
    (folder / "brain").mkdir()
    part = folder / "brain" / "brain.Q8_0.gguf.part"
    with part.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DownloadError, match="another process is fetching it"):
            bring(stick, folder)
    assert held(folder) == {"brain": {part.name: b""}}


def test_a_stick_that_is_pulled_out_leaves_nothing_half(stick: Path, folder: Path) -> None:
    put("brain", stick)
    put("voice", stick)

    class Hand(Heard):
        def note(self, sentence: str) -> None:
            if sentence == "Reading voice.":
                shutil.rmtree(stick / "brain")

    imported = import_models(stick, CATALOGUE, [], folder, Hand())
    assert names_of(imported) == (["voice"], [])
    assert imported.flaws == [
        f"brain: {stick / 'brain' / 'brain.Q8_0.gguf'} cannot be read: No such file or directory; "
        "copy it to the stick again."
    ]
    assert held(folder) == {"voice": MODELS["voice"]}


def test_a_stick_that_gives_other_bytes_the_second_time(stick: Path, folder: Path) -> None:
    put("brain", stick)
    put("voice", stick)

    class Hand(Heard):
        def note(self, sentence: str) -> None:
            if sentence == "Reading voice.":
                (stick / "brain" / "brain.Q8_0.gguf").write_bytes(b"GGUF" * 9000)

    imported = import_models(stick, CATALOGUE, [], folder, Hand())
    assert names_of(imported) == (["voice"], [])
    assert "has 36000 bytes, not 4024; import it again" in imported.flaws[0]
    assert held(folder) == {"voice": MODELS["voice"]}


PLACES = st.sampled_from([f"{name}/{file}" for name, files in MODELS.items() for file in files])
CONTENTS = st.sampled_from([content for files in MODELS.values() for content in files.values()])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(PLACES, CONTENTS | st.binary(max_size=20), max_size=9))
def test_whatever_is_on_the_stick_only_whole_models_come(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    top = tmp_path_factory.mktemp("any")
    for place, content in files.items():
        (top / "stick" / place).parent.mkdir(parents=True, exist_ok=True)
        (top / "stick" / place).write_bytes(content)
    (top / "stick").mkdir(exist_ok=True)
    (top / "models").mkdir()
    possible = {
        name
        for name, wanted in MODELS.items()
        if name != "nobody-knows" and set(wanted.values()) <= set(files.values())
    }
    try:
        imported = bring(top / "stick", top / "models")
    except ModelError:
        assert possible == set()
    else:
        assert {entry.name for entry in imported.came} == possible
    assert held(top / "models") == {name: MODELS[name] for name in possible}
