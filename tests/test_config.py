"""config.toml: the file in the checkout equals the structs, and every mistake is one sentence."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant import config as configuration
from assistant.config import CHECKOUT, Audio, Config, Section, load, parse, places
from assistant.errors import ConfigError

FILE = CHECKOUT / "config.toml"
SECTIONS: dict[str, type[Section]] = {f.name: f.type for f in msgspec.structs.fields(Config)}


def keys(section: str) -> list[str]:
    return [field.name for field in msgspec.structs.fields(SECTIONS[section])]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ---------------------------------------------------------------- the file of the checkout


def test_the_file_lists_every_key_in_order_with_its_default() -> None:
    document = tomllib.loads(FILE.read_text(encoding="utf-8"))
    defaults = msgspec.to_builtins(Config())
    assert list(document) == list(SECTIONS)
    for section, values in document.items():
        assert list(values) == keys(section)
        for key, value in values.items():
            assert value == defaults[section][key], f"{section}.{key}"
            assert type(value) is type(defaults[section][key]), f"{section}.{key}"
    assert load(FILE) == Config()


def test_every_key_has_one_comment_and_nothing_else_has() -> None:
    first, *lines = FILE.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    for line in lines:
        if line == "" or re.fullmatch(r"\[[a-z]+\]", line):
            continue
        found = re.fullmatch(r'([a-z_]+) = ("[^"]*"|[-\w.]+) +# (\S[^#]*)', line)
        assert found is not None, line
        assert not found[3].endswith((" ", ".")), line


def test_the_comments_stand_in_one_column() -> None:
    for block in FILE.read_text(encoding="utf-8").split("\n\n")[1:]:
        columns = {line.index("# ") for line in block.splitlines()[1:] if len(line) < 140}
        assert len(columns) == 1, block


# ---------------------------------------------------------------- what is taken


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == Config()
    assert load(written(tmp_path, "[vad]\nhangover_ms = 900\n")).vad == configuration.Vad(hangover_ms=900)


@pytest.mark.parametrize("text", ["\ufeff[llm]\nseed = 7\n", "[llm]\r\nseed = 7\r\n", "[llm]\nseed=7#x"])
def test_files_of_other_systems(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode())
    assert load(path).llm.seed == 7


def test_a_whole_number_may_stand_for_a_fraction() -> None:
    assert parse({"llm": {"temperature": 1}}, FILE).llm.temperature == 1.0


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    text = (
        '[stt]\nmodel = "models/whisper"\n[llm]\nmodel = "tiny.gguf"\n[tts]\nmodel = "/voices/a.onnx"\n'
        '[models]\nfolder = "weights"\n[daemon]\nsocket = "~/run/a.sock"\n'
    )
    path = written(tmp_path, text)
    monkeypatch.chdir("/")
    for name in (path, Path(os.path.relpath(path))):
        config = load(name)
        assert config.stt.model == f"{tmp_path}/models/whisper"
        assert config.llm.model == f"{tmp_path}/tiny.gguf"
        assert config.tts.model == "/voices/a.onnx"
        assert configuration.models_folder(config) == tmp_path / "weights"
        assert configuration.socket_path(config) == Path("/home/somebody/run/a.sock")


def test_names_of_the_catalogue_stay_names(tmp_path: Path) -> None:
    config = load(written(tmp_path, '[stt]\nmodel = "whisper-tiny"\n[llm]\nmodel = "auto"\n'))
    assert (config.stt.model, config.llm.model) == ("whisper-tiny", "auto")
    assert (config.models.folder, config.daemon.socket) == ("auto", "auto")


def test_where_a_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert places()[0] == tmp_path / "assistant" / "config.toml"
    assert places()[1:] == (Path("/etc/assistant/config.toml"), FILE)
    (tmp_path / "assistant").mkdir()
    (tmp_path / "assistant" / "config.toml").write_text("[llm]\nseed = 3\n", encoding="utf-8")
    assert load().llm.seed == 3
    (tmp_path / "assistant" / "config.toml").unlink()
    monkeypatch.setattr(configuration, "CHECKOUT", tmp_path / "nowhere")
    monkeypatch.setattr(configuration, "places", lambda: (tmp_path / "none.toml",))
    assert load() == Config()


def test_the_socket_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert configuration.socket_path(Config()) == tmp_path / "assistant" / "assistant.sock"


def test_without_a_runtime_folder_one_is_made_that_nobody_else_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / f"assistant-{os.getuid()}"
    for _ in range(2):
        assert configuration.runtime_folder() == folder
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path)  # somebody else may have laid it there
    with pytest.raises(ConfigError, match=r"is not a folder of your own; set daemon\.socket in config\.toml"):
        configuration.runtime_folder()


# ---------------------------------------------------------------- one file over another


class Places:
    """The files of a board, none of which is there yet."""

    def __init__(self, folder: Path) -> None:
        self.own = folder / "home" / "assistant" / "config.toml"
        self.system = folder / "etc" / "config.toml"
        self.checkout = folder / "checkout" / "config.toml"
        self.boot = folder / "boot" / "firmware" / "assistant.toml"
        self.old_boot = folder / "boot" / "assistant.toml"

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path: Path = getattr(self, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(configuration, "places", lambda: (found.own, found.system, found.checkout))
    monkeypatch.setattr(configuration, "BOOT_PLACES", (found.boot, found.old_boot))
    return found


SEED = "[llm]\nseed = {}\n"


@pytest.mark.parametrize(
    ("files", "read"),
    [
        ([], []),
        (["system"], ["system"]),
        (["boot"], ["boot"]),
        (["old_boot"], ["old_boot"]),
        (["boot", "old_boot"], ["boot"]),
        (["system", "boot"], ["system", "boot"]),
        (["checkout", "old_boot"], ["checkout", "old_boot"]),
        (["system", "checkout", "boot", "old_boot"], ["system", "boot"]),
        (["own"], ["own"]),
        (["own", "system", "checkout", "boot", "old_boot"], ["own"]),
    ],
)
def test_which_files_are_read(board: Places, files: list[str], read: list[str]) -> None:
    """A user's own stands alone; of a board's, the one on the boot partition goes before the other."""
    board.write(**{name: SEED.format(number) for number, name in enumerate(files)})
    assert [*configuration.layers()] == [getattr(board, name) for name in read]
    assert load().llm.seed == (files.index(read[-1]) if read else -1)


def test_a_folder_in_the_place_of_a_file_is_none(board: Places) -> None:
    board.boot.mkdir(parents=True)
    board.own.mkdir(parents=True)
    board.write(system=SEED.format(3))
    assert load().llm.seed == 3


def test_a_file_that_is_named_stands_alone(board: Places) -> None:
    board.write(system=SEED.format(1), boot=SEED.format(2), checkout="[vad]\nhangover_ms = 900\n")
    assert load(board.checkout) == Config(vad=configuration.Vad(hangover_ms=900))


def test_one_file_goes_before_another_key_by_key(board: Places) -> None:
    board.write(
        system="[llm]\nseed = 1\ntop_k = 10\n[tts]\nspeed = 1.5\n[log]\nwords = true\n",
        boot="[llm]\nseed = 2\ntemperature = 1\n[tts]\n[audio]\nauto_gain = false\n",
    )
    config = load()
    assert config.llm == configuration.Llm(seed=2, top_k=10, temperature=1.0)
    assert config.tts.speed == 1.5
    assert (config.log.words, config.audio.auto_gain) == (True, False)


def test_a_default_that_is_written_is_meant(board: Places) -> None:
    board.write(system=SEED.format(5), boot=SEED.format(-1))
    assert load().llm.seed == -1


def test_paths_are_relative_to_the_file_that_they_stand_in(board: Places) -> None:
    board.write(
        system='[models]\nfolder = "weights"\n[llm]\nmodel = "a.gguf"\n[tts]\nmodel = "v/b.onnx"\n',
        boot='[tts]\nmodel = "c.onnx"\n[daemon]\nsocket = "d.sock"\n',
    )
    config, system, boot = load(), board.system.parent, board.boot.parent
    assert config.models.folder == f"{system}/weights"
    assert (config.llm.model, config.tts.model) == (f"{system}/a.gguf", f"{boot}/c.onnx")
    assert config.daemon.socket == f"{boot}/d.sock"


@pytest.mark.parametrize(
    ("files", "wrong", "sentence"),
    [
        ({"system": "[vad]\naggressiveness = 7\n", "boot": SEED.format(1)}, "system", "aggressiveness = 7"),
        ({"system": SEED.format(1), "boot": "[vad]\naggressiveness = 7\n"}, "boot", "aggressiveness = 7"),
        ({"system": SEED.format(1), "boot": "[vat]\n"}, "boot", "there is no vat; did you mean vad?"),
        ({"system": SEED.format(1), "boot": "[llm\n"}, "boot", "is not valid TOML"),
        ({"system": "[llm\n", "boot": "[llm\n"}, "system", "is not valid TOML"),
        # a value that is wrong by what another file says
        (
            {"system": "[llm]\nmax_tokens = 1000\n", "boot": "[llm]\ncontext_tokens = 1024\n"},
            "boot",
            "llm.max_tokens (1000) leaves less than half for the conversation of llm.context_tokens (1024)",
        ),
        (
            {"system": "[llm]\ncontext_tokens = 512\n", "boot": "[llm]\nmax_tokens = 257\n"},
            "boot",
            "llm.max_tokens (257) leaves less than half for the conversation of llm.context_tokens (512)",
        ),
    ],
)
def test_a_mistake_names_the_file_that_it_is_in(
    board: Places, files: dict[str, str], wrong: str, sentence: str
) -> None:
    board.write(**files)
    with pytest.raises(ConfigError) as caught:
        load()
    said = str(caught.value)
    assert str(getattr(board, wrong)) in said
    assert all(str(getattr(board, name)) not in said for name in files if name != wrong)
    assert sentence in said


def test_what_two_files_say_is_judged_together(board: Places) -> None:
    """Alone, so long an answer would not be possible."""
    board.write(system="[llm]\ncontext_tokens = 8192\n", boot="[llm]\nmax_tokens = 4096\n")
    with pytest.raises(ConfigError):
        load(board.boot)
    assert load().llm.max_tokens == 4096


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "llm": st.fixed_dictionaries(
            {}, optional={"seed": st.integers(-1, 99), "top_k": st.integers(0, 99), "model": st.just("auto")}
        ),
        "tts": st.fixed_dictionaries({}, optional={"speed": st.sampled_from([0.5, 1.0, 2.0])}),
        "log": st.fixed_dictionaries({}, optional={"words": st.booleans()}),
    },
)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_each_key_has_the_value_of_the_last_file_that_has_it(
    lower: dict[str, dict[str, object]], upper: dict[str, dict[str, object]]
) -> None:
    both = msgspec.to_builtins(parse(upper, FILE, parse(lower, FILE)))
    expected = msgspec.to_builtins(Config())
    for document in (lower, upper):
        for section, values in document.items():
            expected[section].update(values)
    assert both == expected


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[lllm]\n", "there is no lllm; did you mean llm?"),
        (
            "[zzzz]\n",
            "there is no zzzz; there are audio, wake, vad, stt, llm, tts, sounds, plan, models, daemon, log.",
        ),
        ("[llm]\nmax_token = 3\n", "there is no llm.max_token; did you mean llm.max_tokens?"),
        ("[vad]\nhangover = 3\n", "there is no vad.hangover; did you mean vad.hangover_ms?"),
        ("[models]\n'' = 3\n", "there is no models.; did you mean models.folder?"),
        ("llm = 3\n", "llm is a section: write [llm] and its keys below."),
        ("[[llm]]\nseed = 1\n", "llm is a section: write [llm] and its keys below."),
        ("seed = 3\n", "there is no seed; there are audio"),
        (
            "[vad]\naggressiveness = 4\n",
            "vad.aggressiveness = 4 is impossible: it must be a whole number from 0 to 3.",
        ),
        (
            "[vad]\naggressiveness = -1\n",
            "vad.aggressiveness = -1 is impossible: it must be a whole number from 0 to",
        ),
        (
            "[vad]\nhangover_ms = 1.5\n",
            "vad.hangover_ms = 1.5 is impossible: it must be a whole number from 100 to",
        ),
        (
            "[vad]\nhangover_ms = '9'\n",
            'vad.hangover_ms = "9" is impossible: it must be a whole number from 100 to',
        ),
        ("[vad]\nhangover_ms = true\n", "vad.hangover_ms = true is impossible: it must be a whole number"),
        ("[llm]\ntop_p = 0\n", "llm.top_p = 0 is impossible: it must be a number above 0, at most 1."),
        (
            "[llm]\ntemperature = nan\n",
            "llm.temperature = nan is impossible: it must be a number from 0 to 2.",
        ),
        (
            "[llm]\ntemperature = inf\n",
            "llm.temperature = inf is impossible: it must be a number from 0 to 2.",
        ),
        ("[llm]\nseed = 99999999999999999999\n", "it must be a whole number from -1 to 2147483647."),
        (
            "[llm]\ntemplate = 'alpaca'\n",
            'llm.template = "alpaca" is impossible: '
            'it must be one of "auto", "chatml", "llama-2", "orca", "plain", "zephyr".',
        ),
        ("[llm]\nsystem_prompt = 3\n", 'llm.system_prompt = 3 is impossible: it must be text in "quotes".'),
        ("[llm]\nmodel = 2020-01-01\n", 'llm.model = 2020-01-01 is impossible: it must be text in "quotes".'),
        ("[llm]\nmodel = ['a']\n", 'llm.model = ["a"] is impossible: it must be text in'),
        ("[llm.model]\nx = 1\n", 'llm.model = {"x": 1} is impossible: it must be text in'),
        (
            "[stt]\nlanguage = 'English'\n",
            'stt.language = "English" is impossible: it must be a language code such as',
        ),
        ("[audio]\nauto_gain = 1\n", "audio.auto_gain = 1 is impossible: it must be true or false."),
        ("[log]\nlevel = 'loud'\n", 'it must be one of "debug", "error", "info", "warning".'),
        (
            "[llm]\nmax_tokens = 2048\n",
            "llm.max_tokens (2048) leaves less than half for the conversation of llm.context_tokens (2048)",
        ),
        ("[audio]\nmicrophone = ''\n", 'audio.microphone is empty; write "auto", or a name'),
        ("[audio]\nspeaker = ' '\n", 'audio.speaker is empty; write "auto", or a name'),
        ("[audio]\nbarge_in = false\n", "audio.barge_in = false is impossible: it must be one of"),
        ("[audio]\nspeaker = auto # x\n", '(at line 2, column 11); text needs quotes: "auto".'),
        ("[audio]\nauto_gain = True\n", "(at line 2, column 13); write true."),
        ("[sounds]\nearcons = yes # x\n", "(at line 2, column 11); write true."),
        ("sounds.earcons = Off", "(at line 1, column 18); write false."),
        ("[audio]\nbarge_in = off\n", '(at line 2, column 12); text needs quotes: "off".'),
        ("[audio]\nspeaker = ]\n", "Invalid value (at line 2, column 11)."),
        ("[audio]\nspeaker =", "Invalid value (at end of document)."),
        ("[wake]\nmode = 'button'\n", "needs a button; set wake.button_gpio to its pin (BCM number)."),
        ("[wake]\nmode = 'phrase'\nphrase = '?!'\n", "wake.phrase has no letters; write what to call"),
        ("[wake]\nbutton_gpio = 28\n", "wake.button_gpio = 28 is impossible: it must be a whole number"),
        ("[stt]\nlanguage = '" + "x" * 5000 + "'\n", "xxx... is impossible"),
        ('[llm]\nsystem_prompt = "a\\u0000b"\n', "llm.system_prompt holds a NUL character; take it out."),
        ('[daemon]\nsocket = "/run/a\\u0000"\n', "daemon.socket holds a NUL character; take it out."),
        (
            '[daemon]\nsocket = "~nobody-has-this-name/x"\n',
            "There is no home folder for ~nobody-has-this-name/x",
        ),
        ("[llm\n", "is not valid TOML: Expected"),
        ("[llm]\nseed = 1\nseed = 2\n", "seed is there already, and at line 3 again; keep one of them."),
        ("llm.seed = 1\nllm.seed = 2", "llm.seed is there already, and at line 2 again; keep one"),
        ("[llm]\nmodel = 'a'\nmodel = '''\n'''\n", "is there already, and at line 4 again; keep one"),
        (
            "[llm]\n[audio]\n[llm]\n",
            "[llm] is there already, and at line 3 again; put all its keys under one.",
        ),
        ('[llm]\nmodel = "a\n', "(at line 2, column 11); write one key and its value a line, text with a"),
        ('[llm]\nmodel = "a', "Unterminated string (at end of document); write one key and its value a line"),
        ("[llm]\nmodel = 'a\n", "text with a quote at both ends"),
        ("[audio]\nmicrophone = 'usb\n# it's\n", "text with a quote at both ends"),
        ("[tts]\nspeed = 1,2\n", "a number with a point and no unit."),
        ('[llm]\nmodel = "a"b"\n', "(at line 2, column 12); write one key and its value a line"),
        ("[llm]\nmodel = a\n", "is not valid TOML: Invalid value"),
        ("a = " + "[" * 5000, "it makes no sense as TOML."),
        ("a = " + "1" * 5000, "it makes no sense as TOML."),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    said = str(caught.value)
    assert sentence in said
    assert said.endswith((".", "?"))
    assert "\n" not in said
    assert len(said) < 400
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff\xfe[\x00", "is not UTF-8 text; save it as UTF-8."),
        (b"[llm]\nmodel = '\xe4'\n", "is not UTF-8 text"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigError, match=f"There is no configuration file {missing}; check the name behind"):
        load(missing)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory\."):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be read: Not a directory\."):
        load(written(tmp_path, "") / "config.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("a\0b"))


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_stands_in_a_file_is_a_config_or_a_sentence(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(SECTIONS)))
    key = data.draw(st.sampled_from(keys(section)) | st.text(max_size=9))
    document = {section: {key: data.draw(VALUES)}}
    with contextlib.suppress(ConfigError):
        assert isinstance(parse(document, FILE), Config)


# ---------------------------------------------------------------- the daemon stays small


def test_the_daemon_imports_no_heavy_library() -> None:
    program = (
        "import sys, assistant.daemon.daemon\n"
        "heavy = {'numpy', 'soundfile', 'sounddevice', 'llama_cpp', 'onnxruntime', 'rich', 'hypothesis'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmRSS')).split()[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    heavy, kib = done.stdout.splitlines()
    assert heavy == ""
    assert int(kib) < 45 * 1024


@pytest.mark.parametrize(
    ("text", "barge_in"),
    [
        ("half_duplex = true", "off"),
        ("half_duplex = false", "voice"),
        ('half_duplex = true\nbarge_in = "word"', "word"),
    ],
)
def test_a_key_of_an_earlier_version_means_what_it_meant(text: str, barge_in: str, tmp_path: Path) -> None:
    """The file of settings outlives an update."""
    file = tmp_path / "config.toml"
    file.write_text(f"[audio]\n{text}\n")
    assert load(file).audio == Audio(barge_in=barge_in)  # type: ignore[arg-type] # one of its words
