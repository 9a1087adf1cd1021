"""The errors that a user can meet: one base class, one sentence each.

A message says what failed, why, and what to do next.  The command line prints it without a traceback and
leaves with `exit_code`; everything that is not an `AssistantError` is a defect of the program.
"""

from __future__ import annotations


class AssistantError(Exception):
    """Something that a person can understand and mend."""

    exit_code = 1
    is_said = False
    """Whether the person has been told already, by the process that it happened in."""


class ConfigError(AssistantError, ValueError):
    """config.toml (or a command-line word) cannot be used."""

    exit_code = 2


class ModelError(AssistantError):
    """A model is missing, damaged, or not of the expected kind."""


class NoRoomError(ModelError, MemoryError):
    """A model does not fit the memory there is."""


class AudioError(AssistantError, OSError):
    """A microphone, a speaker or a sound file cannot be used."""


class DeviceBusy(AudioError):
    """Another program uses the device; it may let it go."""


class DeviceStuck(AudioError):
    """A device does not let go of this process, which must end: PortAudio would crash it on looking again."""


class ButtonError(AssistantError, OSError):
    """The button on a GPIO pin cannot be used."""


class DownloadError(AssistantError, OSError):
    """A model could not be fetched; what was on disk before is untouched."""


class DaemonError(AssistantError):
    """The daemon cannot be started or reached, or it went away."""


class QueueFull(AssistantError):
    """A bounded queue refused a message; the sender still has it."""


class AnswerError(AssistantError):
    """A question, a sentence or a recording could not be worked on; says why."""


class BoardError(AssistantError):
    """The board, or the system on it, cannot run the assistant."""


def one_line(text: str) -> str:
    """`text` of a stranger's (a name, a reason) as a part of a sentence: "?" for what nobody sees.

    A terminal might obey it, or show it on a line of its own.  What a model says is cleaned otherwise
    (`text.clean.printable`): it may have lines.
    """
    return "".join(character if character.isprintable() else "?" for character in text)
