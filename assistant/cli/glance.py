"""The assistant's status as a person reads it, on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from textwrap import wrap

from assistant.audio.level import TROUBLES
from assistant.board.health import Health
from assistant.cli.doctor.monitors import HEARS_ITSELF
from assistant.messages import StageStatus, Status, TurnStatus
from assistant.text.clean import printable

WIDTH = 80
SHOWN_TURNS = 5
STALE_S = 3.0
"""A level older than this is no longer how the microphone is: one comes every second."""

DOES = {
    "starting": "is starting",
    "idle": "is idle",
    "listening": "is listening",
    "thinking": "is thinking",
    "speaking": "is speaking",
    "deaf": "cannot listen",
    "faulty": "cannot work",
}

STAGE_HEADS = ("STAGE", "STATE", "PROCESS", "RESTARTS", "WORK", "MiB", "AT MOST")
TURN_HEADS = ("TURN", "AGO", "OUTCOME", "SPEECH", "TRANSCRIPT", "TOKEN", "SOUND", "IN ALL")


def lines(
    status: Status, health: Health, now: datetime, hears_itself: bool = False, call: str = ""
) -> Iterator[str]:
    """The status for a person, on a terminal of 80 columns; `now` is the time on the wall.

    `hears_itself`: where no sound comes from the microphone, that is because it is what this board plays.
    `call` says how one calls it, where one has to.
    """
    running_s = status.at_s - status.started_at_s
    since = now - timedelta(seconds=running_s)
    when = f"{since:%H:%M}" if since.date() == now.date() else f"{since:%d %b %H:%M}"
    vad = next(stage for stage in status.stages if stage.stage == "vad")
    yield f"assistant {status.version} {_does(status, vad)}; running since {when} ({age(running_s)})"
    yield ""
    yield from _row("Plan", _plan(status))
    yield from _row("Memory", _memory(status))
    if status.microphone is not None or vad.state == "ready":
        muted = "muted until `assistant unmute`; " if status.muted else ""
        yield from _row("Microphone", muted + _microphone(status, vad.state == "ready", hears_itself))
    if call and vad.wanted:
        yield from _row("Call", call)
    yield from _row("Volume", f"answers {status.volume.answers:.0%}, earcons {status.volume.earcons:.0%}")
    if board := _board(health):
        yield from _row("Board", board)
    yield ""
    yield from _table([STAGE_HEADS, *map(_stage, status.stages)])
    for stage in status.stages:
        if stage.detail:
            yield from _row(f"  {stage.stage}", stage.detail)
    if status.turns:
        yield ""
        last = status.turns[::-1][:SHOWN_TURNS]
        yield from _table([TURN_HEADS, *(_turn(turn, status.at_s) for turn in last)])
        yield "(seconds; after the end of speech, or after a client's request)"


def age(seconds: float) -> str:
    """A while, in its two largest units: "12 s", "3 min", "2 h 3 min", "5 d 2 h"."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def _does(status: Status, vad: StageStatus) -> str:
    if status.state == "deaf" and vad.fault == "microphone":
        return "has no microphone"
    faults = [stage for stage in status.stages if stage.hinders and stage.detail]
    if status.state == "faulty" and faults and all(stage.lacks_speaker for stage in faults):
        return "has no speaker"
    return DOES[status.state]


def _plan(status: Status) -> str:
    if status.plan is None:
        return "none: there is no language model"
    names = [stage.model for stage in status.stages if stage.model]
    fits = "" if status.plan.fits else "; it does not fit this board"
    return f"{', '.join(names)}; {status.plan.context_tokens} tokens ({status.plan.kv_type}){fits}"


def _memory(status: Status) -> str:
    planned = f", at most {_mib(status.plan.predicted_bytes)} as planned" if status.plan is not None else ""
    return f"{_mib(status.held_bytes)} MiB taken{planned}; {_mib(status.available_bytes)} MiB available"


def _microphone(status: Status, is_there: bool, hears_itself: bool) -> str:
    level = status.microphone
    if level is None:
        return "nothing has come from it yet"
    ago_s = status.at_s - level.at_s
    if ago_s > STALE_S or not is_there:
        return f"nothing has come from it for {age(ago_s)}"
    text = f"{level.rms_dbfs:.0f} dBFS, peak {level.peak_dbfs:.0f} dBFS"
    if level.gain_db >= 1:
        text += f", amplified by {level.gain_db:.0f} dB"
    if level.lost_frames:
        text += f", {level.lost_frames} of {level.frames} frames lost"
    if level.trouble is None:
        return text
    is_itself = hears_itself and level.trouble == "silent"
    return "{}; {}: {}".format(text, *(HEARS_ITSELF if is_itself else TROUBLES[level.trouble]))


def _board(health: Health) -> str:
    parts = [] if health.celsius is None else [f"{health.celsius:.0f} °C"]
    if health.is_hot:
        parts.append("too hot: give it a cooler")
    if health.is_throttled:
        parts.append("slowed down by its firmware")
    if health.is_under_voltage:
        parts.append("under-voltage: use a stronger power supply")
    elif health.is_under_voltage is not None:
        parts.append("power is fine")
    return ", ".join(parts)


def _stage(stage: StageStatus) -> tuple[str, ...]:
    gone = "cannot work" if stage.detail else "gone" if stage.wanted else "not needed"
    return (
        stage.stage,
        gone if stage.state == "gone" else stage.state,
        str(stage.pid or "-"),
        str(stage.restarts),
        str(stage.waiting + stage.in_work),
        _mib(stage.held_bytes),
        _mib(stage.predicted_bytes) if stage.predicted_bytes else "-",
    )


def _turn(turn: TurnStatus, now_s: float) -> tuple[str, ...]:
    steps = (turn.speech_s, turn.transcript_s, turn.first_token_s, turn.first_sound_s, turn.done_s)
    seconds = ("-" if step is None else f"{step:.1f}" for step in steps)
    return (str(turn.turn), age(now_s - turn.finished_at_s), turn.outcome, *seconds)


def _row(head: str, text: str) -> list[str]:
    indent = " " * 12
    return wrap(
        printable(text),
        WIDTH,
        initial_indent=f"{head:<12}",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Words to the left, numbers (from the third column on) to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column > 2 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f}"
