"""config.toml: one frozen struct per section; the defaults live here alone.

`load` reads a file, fills in what it leaves out, and refuses with a sentence (`ConfigError`) what cannot be.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from assistant.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds config.toml, models/ and tests/ in a checkout."""

SOUNDS_FOLDER = CHECKOUT / "sounds"
"""Where the installer has the sounds of faults made."""

BOOT_PLACES = (Path("/boot/firmware/assistant.toml"), Path("/boot/assistant.toml"))
"""On the partition of the card that every PC can read: of Raspberry Pi OS since Debian 12, and before."""

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=60_000)]
Threads = Annotated[int, msgspec.Meta(ge=0, le=64)]
Prefer = Literal["speed", "balanced", "quality"]
Template = Literal["auto", "zephyr", "llama-2", "chatml", "orca", "plain"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a section of config.toml."""


class Audio(Section, frozen=True):
    microphone: str = "auto"
    channel: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0
    auto_gain: bool = True
    speaker: str = "auto"
    barge_in: Literal["off", "word", "voice"] = "off"


class Wake(Section, frozen=True):
    mode: Literal["open", "word", "phrase", "button"] = "open"
    word: Literal["okay_nabu", "hey_jarvis", "hey_mycroft", "alexa"] = "okay_nabu"
    phrase: str = "computer"
    follow_up_s: Annotated[int, msgspec.Meta(ge=0, le=120)] = 8
    button_gpio: Annotated[int, msgspec.Meta(ge=-1, le=27)] = -1


class Vad(Section, frozen=True):
    aggressiveness: Annotated[int, msgspec.Meta(ge=0, le=3)] = 2
    second_opinion: bool = True
    pre_roll_ms: Annotated[int, msgspec.Meta(ge=0, le=2_000)] = 400
    tentative_pause_ms: Annotated[int, msgspec.Meta(ge=40, le=60_000)] = 60
    hangover_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 700
    min_speech_ms: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 150
    max_utterance_s: Annotated[int, msgspec.Meta(ge=2, le=120)] = 30


class Stt(Section, frozen=True):
    model: str = "auto"
    language: Annotated[str, msgspec.Meta(pattern="^[a-z]{2,3}$")] = "en"
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=10)] = 5
    confirm: bool = False
    threads: Threads = 0


class Llm(Section, frozen=True):
    model: str = "auto"
    template: Template = "auto"
    system_prompt: str = (
        "You are a friendly voice assistant. Answer in one or two short, plain sentences. "
        "If you do not know something, say so."
    )
    context_tokens: Annotated[int, msgspec.Meta(ge=128, le=131_072)] = 2048
    kv_type: Literal["auto", "f16", "q8_0"] = "auto"
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=16_384)] = 256
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.2
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.95
    top_k: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 40
    repeat_penalty: Annotated[float, msgspec.Meta(ge=0.5, le=2)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = -1
    threads: Threads = 0


class Tts(Section, frozen=True):
    model: str = "auto"
    speed: Annotated[float, msgspec.Meta(ge=0.5, le=2)] = 1.0
    volume: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    threads: Threads = 0


class Sounds(Section, frozen=True):
    earcons: bool = True
    volume: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    faults: bool = True


class Daemon(Section, frozen=True):
    socket: str = "auto"
    question_ttl_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 60


class Plan(Section, frozen=True):
    prefer: Prefer = "balanced"


class Models(Section, frozen=True):
    folder: str = "auto"


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    words: bool = False


class Config(Section, frozen=True):
    """All of config.toml."""

    audio: Audio = Audio()
    wake: Wake = Wake()
    vad: Vad = Vad()
    stt: Stt = Stt()
    llm: Llm = Llm()
    tts: Tts = Tts()
    sounds: Sounds = Sounds()
    plan: Plan = Plan()
    models: Models = Models()
    daemon: Daemon = Daemon()
    log: Log = Log()


def load(path: Path | None = None) -> Config:
    """The configuration in `path`, else in `layers()`, completed by the defaults.

    Paths inside a file are relative to the folder that it stands in.  Raises `ConfigError`.
    """
    config = Config()
    for layer in layers() if path is None else (path,):
        config = parse(_read(layer), layer, config)
    return config


def layers() -> tuple[Path, ...]:
    """The files that are read without --config: the first of `places()` that exists.

    Unless that is the user's own, what stands on the boot partition goes before it, key by key: a board
    without a screen is set up on a PC that its card is in.
    """
    found = [place for place in places() if os.path.isfile(place)][:1]
    if found and found[0] == _users_place():
        return tuple(found)
    return (*found, *[place for place in BOOT_PLACES if _may_be_there(place)][:1])


def _may_be_there(path: Path) -> bool:
    """Whether there is such a file, or one that this user may not see: then reading it says so."""
    try:
        return path.is_file()
    except PermissionError:
        return True


def origin(section: str, key: str) -> Path | None:
    """The file of `layers()` that says what a key is; None where none does.  Raises `ConfigError`."""
    return next((path for path in reversed(layers()) if key in _read(path).get(section, {})), None)


def _read(path: Path) -> dict[str, Any]:
    text = ""
    try:
        # utf-8-sig: a file saved by an editor of another system may begin with a byte order mark
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"There is no configuration file {path}; check the name behind --config.") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The configuration file {path} is not UTF-8 text; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {_explained(str(error), text)}.") from None
    except (ValueError, RecursionError):  # thousands of digits or brackets, or NUL in the name
        raise ConfigError(
            f"The configuration file {path} cannot be read: it makes no sense as TOML."
        ) from None


def _explained(complaint: str, text: str) -> str:
    """What tomllib says of `text`, with what to do about it where that is clear."""
    lines = text.split("\n")
    place = re.search(r" \(at line (\d+), column (\d+)\)$", complaint)
    number, column = (int(place[1]), int(place[2])) if place else (len(lines), len(lines[-1]) + 1)
    line = lines[number - 1]
    if complaint.startswith(("Cannot overwrite", "Cannot declare")):
        name = re.match(r"\s*(\[+[^\]]*\]+|[\w.-]+(?=\s*=))", line)
        what = name[1] if name else "a value that ends there"
        mend = "put all its keys under one" if what.startswith("[") else "keep one of them"
        return f"{what} is there already, and at line {number} again; {mend}"
    broken_off = r"(Illegal|Found invalid) character '\\n'|Unterminated string|Expected (newline|\"'\")"
    if re.match(broken_off, complaint):
        return (
            f"{complaint}; write one key and its value a line, text with a quote at both ends and a number "
            "with a point and no unit"
        )
    word = re.match(r"[A-Za-z][\w-]*", line[column - 1 :])
    if not complaint.startswith("Invalid value") or not word:
        return complaint
    return f"{complaint}; {_for_bare_word(word[0], line.partition('=')[0])}"


def _for_bare_word(word: str, key: str) -> str:
    """What to write for the word that stands there without quotes."""
    sections = [field.type for field in msgspec.structs.fields(Config)]
    switches = {f.name for s in sections for f in msgspec.structs.fields(s) if f.type is bool}
    meant = {"true": "true", "false": "false"}
    if key.strip().rpartition(".")[2] in switches:
        meant |= {"yes": "true", "on": "true", "no": "false", "off": "false"}
    if truth := meant.get(word.lower()):
        return f"write {truth}"
    return f'text needs quotes: "{word}"'


def parse(document: dict[str, Any], path: Path, base: Config = Config()) -> Config:  # noqa: B008 - frozen
    """`base` with what `document`, as TOML reads it from `path`, says otherwise.  Raises `ConfigError`."""
    document = brought_up_to_date(document)
    _refuse_unknown_keys(document, path)
    _refuse_nul(document, path)
    try:
        own = _with_absolute_paths(msgspec.convert(document, Config), path.resolve().parent)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error, document)}") from None
    config = _over(base, own, document)
    if config.llm.max_tokens > config.llm.context_tokens // 2:
        raise ConfigError(
            f"{path}: llm.max_tokens ({config.llm.max_tokens}) leaves less than half for the conversation of "
            f"llm.context_tokens ({config.llm.context_tokens}); make it smaller."
        )
    for kind in ("microphone", "speaker"):
        if not getattr(config.audio, kind).strip():
            raise ConfigError(
                f'{path}: audio.{kind} is empty; write "auto", or a name that `assistant devices` shows.'
            )
    if config.wake.mode == "button" and config.wake.button_gpio < 0:
        raise ConfigError(
            f'{path}: wake.mode = "button" needs a button; set wake.button_gpio to its pin (BCM number).'
        )
    if config.wake.mode == "phrase" and not any(letter.isalnum() for letter in config.wake.phrase):
        raise ConfigError(
            f'{path}: wake.phrase has no letters; write what to call the assistant in "quotes".'
        )
    return config


def brought_up_to_date(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with a key of earlier versions as what it is now; an update keeps the file of settings."""
    audio = document.get("audio")
    if not isinstance(audio, dict) or not isinstance(half_duplex := audio.get("half_duplex"), bool):
        return document
    audio = {"barge_in": "off" if half_duplex else "voice", **audio}
    del audio["half_duplex"]
    return {**document, "audio": audio}


def of_another_version(document: dict[str, dict[str, Any]]) -> Config:
    """The configuration in `document`, but for what this version does not know.

    Raises `msgspec.ValidationError`.
    """
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    known = {
        name: {key: value for key, value in section.items() if key in sections[name].__struct_fields__}
        for name, section in brought_up_to_date(document).items()
        if name in sections
    }
    return msgspec.convert(known, Config)


def _over(base: Config, own: Config, document: dict[str, Any]) -> Config:
    """`base` with the values of `own` for the keys that `document` has."""
    replace = msgspec.structs.replace
    sections = {
        name: replace(getattr(base, name), **{key: getattr(getattr(own, name), key) for key in section})
        for name, section in document.items()
    }
    return replace(base, **sections)


def places() -> tuple[Path, ...]:
    """Where config.toml is looked for without --config: the user's, the system's, the checkout's."""
    return (_users_place(), Path("/etc/assistant/config.toml"), CHECKOUT / "config.toml")


def _users_place() -> Path:
    home = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    return home / "assistant" / "config.toml"


def is_path(name: str) -> bool:
    """Whether a model's name is a path of the user's own rather than a name of the catalogue."""
    return "/" in name or name.endswith((".gguf", ".onnx"))


def models_folder(config: Config) -> Path:
    """The folder that downloaded models live in."""
    if config.models.folder != "auto":
        return Path(config.models.folder)
    if (CHECKOUT / "models").is_dir():
        return CHECKOUT / "models"
    return (
        Path(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")) / "assistant" / "models"
    )


def state_folder() -> Path:
    """The folder for what is kept from one run to the next; it need not exist."""
    if folders := os.environ.get("STATE_DIRECTORY"):  # systemd's, for a service that has one or more
        return Path(folders.split(":")[0])
    folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    # Without a home "~" stays: a folder that cannot be, so that nothing is kept rather than in a wrong place.
    return Path(folder if not folder.startswith("~") else os.devnull) / "assistant"


def socket_path(config: Config) -> Path:
    """The socket of a user's own daemon; an installed one is told its own on the command line."""
    if config.daemon.socket != "auto":
        return Path(config.daemon.socket)
    return runtime_folder() / "assistant" / "assistant.sock"


def runtime_folder() -> Path:
    """Where this user's sockets live: a folder that nobody else can write to."""
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{os.getuid()}"):
        if candidate and os.access(candidate, os.W_OK):
            return Path(candidate)
    folder = Path(tempfile.gettempdir()) / f"assistant-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ConfigError(
            f"{folder} is not a folder of your own; set daemon.socket in config.toml to another path."
        )
    return folder


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def absolute(name: str) -> str:
        try:
            return str(folder / Path(name).expanduser())
        except RuntimeError:
            raise ConfigError(f"There is no home folder for {name}; write the whole path.") from None

    def own(name: str) -> str:
        return absolute(name) if is_path(name) else name

    def place(name: str) -> str:
        return name if name == "auto" else absolute(name)

    replace = msgspec.structs.replace
    return replace(
        config,
        stt=replace(config.stt, model=own(config.stt.model)),
        llm=replace(config.llm, model=own(config.llm.model)),
        tts=replace(config.tts, model=own(config.tts.model)),
        models=replace(config.models, folder=place(config.models.folder)),
        daemon=replace(config.daemon, socket=place(config.daemon.socket)),
    )


def _refuse_unknown_keys(document: dict[str, Any], path: Path) -> None:
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    for name, section in document.items():
        if name not in sections:
            raise ConfigError(_unknown(path, name, list(sections)))
        if not isinstance(section, dict):
            raise ConfigError(f"{path}: {name} is a section: write [{name}] and its keys below.")
        keys = [field.name for field in msgspec.structs.fields(sections[name])]
        for key in section:
            if key not in keys:
                raise ConfigError(_unknown(path, f"{name}.{key}", [f"{name}.{k}" for k in keys]))


def _refuse_nul(document: dict[str, Any], path: Path) -> None:
    """No name or text may hold the character that ends a string for the kernel and for C."""
    for name, section in document.items():
        for key, value in section.items():
            if isinstance(value, str) and "\0" in value:
                raise ConfigError(f"{path}: {name}.{key} holds a NUL character; take it out.")


def _unknown(path: Path, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
    return f"{path}: there is no {name}; {hint}"


def _sentence(error: msgspec.ValidationError, document: dict[str, Any]) -> str:
    """msgspec's message, which ends in "- at `$.section.key`", in our words."""
    what, _, where = str(error).partition(" - at `$.")
    key = where.rstrip("`")
    section, _, name = key.partition(".")
    shown = _as_toml(document.get(section, {}).get(name))
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return f"{key} = {shown} is impossible: it must be {_wanted(section, name) or what}."


def _as_toml(value: object) -> str:
    """`value` about as it was written; a date or a number as it is."""
    is_like_json = isinstance(value, bool | str | list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if is_like_json else str(value)


def _wanted(section: str, name: str) -> str:
    """What the key may hold, in words: "a whole number from 0 to 3", "one of auto, zephyr"."""
    schema = msgspec.json.schema(getattr(Config(), section).__class__)
    rule = next(iter(schema["$defs"].values()))["properties"].get(name, {})
    if "enum" in rule:
        return "one of " + ", ".join(f'"{choice}"' for choice in rule["enum"])
    nouns = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    noun = nouns.get(rule.get("type"))
    if noun is None:
        return 'a language code such as "en"' if "pattern" in rule else 'text in "quotes"'
    low = rule.get("minimum", rule.get("exclusiveMinimum"))
    high = rule.get("maximum")
    if low is None:
        return noun
    return f"{noun} from {low} to {high}" if "minimum" in rule else f"{noun} above {low}, at most {high}"
