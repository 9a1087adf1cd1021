"""The waterfall: what happened when between the last sample of speech and the first of the answer, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from benchmarks.plain_chain import Answered
from benchmarks.turns import Turn

COLOURS = {
    "hangover": "#d9d9d9",
    "until the pause": "#9c9c9c",
    "stt": "#4e79a7",
    "llm: prompt": "#f28e2b",
    "llm: first sentence": "#ffbe7d",
    "tts": "#59a14f",
    "stale": "#c9b2a6",
    "sound": "#b07aa1",
}
END_OF_TURN = "#c00000"
WIDTH, LEFT, RIGHT = 1000, 150, 90
ROW, SMALL_ROW, TITLE = 26, 14, 34
SOUND_MS = 150.0
"""How much of the answer's sound is shown."""


class Bar(NamedTuple):
    kind: str
    began_ms: float
    ended_ms: float


class Lines(NamedTuple):
    """A turn as bars, in milliseconds after the end of speech."""

    name: str
    bars: tuple[Bar, ...]
    end_of_turn_ms: float
    sound_ms: float


def fast_lines(turn: Turn) -> Lines:
    stt, llm, tts = map(turn.work, ("stt", "llm", "tts"))
    stale = [
        Bar("stale", work.began_ms, work.ended_ms)
        for work in turn.works
        if work.revision < turn.revision and work.ended_ms > 0
    ]
    bars = (
        Bar("hangover", 0, turn.end_of_turn_ms),
        Bar("until the pause", 0, turn.pause_ms),
        *stale,
        Bar("stt", stt.began_ms, stt.ended_ms),
        Bar("llm: prompt", llm.began_ms, llm.first_ms),
        Bar("llm: first sentence", llm.first_ms, turn.handed_ms),
        Bar("tts", tts.began_ms, tts.first_ms),
        Bar("sound", turn.first_sound_ms, turn.first_sound_ms + SOUND_MS),
    )
    return Lines(turn.name, bars, turn.end_of_turn_ms, turn.first_sound_ms)


def plain_lines(name: str, turn: Answered, zero_s: float) -> Lines:
    end_ms = at_ms = 1000 * (turn.end_of_turn_s - zero_s)
    bars = [Bar("hangover", 0, end_ms)]
    took = (turn.stt_ms, turn.prompt_ms, turn.sentence_ms, turn.tts_ms)
    for kind, took_ms in zip(("stt", "llm: prompt", "llm: first sentence", "tts"), took, strict=True):
        bars.append(Bar(kind, at_ms, at_ms + took_ms))
        at_ms += took_ms
    sound_ms = at_ms + turn.silence_ms
    return Lines(name, (*bars, Bar("sound", sound_ms, sound_ms + SOUND_MS)), end_ms, sound_ms)


def svg(details: Sequence[tuple[str, Lines]], stacks: Sequence[tuple[str, Sequence[Lines]]]) -> str:
    """A picture: `details` are titles and turns with a row for each bar, `stacks` turns of one row each."""
    shown = [lines for _, lines in details] + [lines for _, group in stacks for lines in group]
    scale = (WIDTH - LEFT - RIGHT) / max(lines.sound_ms + SOUND_MS for lines in shown)
    parts: list[str] = []
    y = TITLE
    for title, lines in details:
        height = ROW * len(lines.bars)
        parts += [_text(10, y, title, "bold"), *_grid(y + 10, height, scale)]
        y += 10
        for bar in lines.bars:
            parts += [_bar(bar, y + 4, ROW - 8, scale), _text(LEFT - 8, y + 17, bar.kind, anchor="end")]
            y += ROW
        parts += [_mark(lines, y - height, height, scale), *_axis(y, scale)]
        for i, bar in enumerate(lines.bars):  # behind the mark, so that it can be read
            parts.append(_text(LEFT + scale * bar.ended_ms + 5, y - height + ROW * i + 17, _label(bar)))
        y += TITLE + 20
    for title, group in stacks:
        height = SMALL_ROW * len(group)
        parts += [_text(10, y, title, "bold"), *_grid(y + 10, height, scale)]
        y += 10
        for lines in group:
            parts += [_bar(bar, y + 2, SMALL_ROW - 4, scale) for bar in lines.bars]
            parts.append(_mark(lines, y, SMALL_ROW, scale))
            parts.append(_text(LEFT - 8, y + 11, lines.name, anchor="end", size=11))
            end = LEFT + scale * (lines.sound_ms + SOUND_MS) + 5
            parts.append(_text(end, y + 11, f"{lines.sound_ms:.0f} ms", size=11))
            y += SMALL_ROW
        parts += _axis(y, scale)
        y += TITLE + 20
    parts += _legend(y - 10)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" '
        f'viewBox="0 0 {WIDTH} {y + 10}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{y + 10}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _label(bar: Bar) -> str:
    if bar.kind == "sound":
        return f"from {bar.began_ms:.0f} ms"
    took = f"{bar.ended_ms - bar.began_ms:.0f} ms"
    return took if bar.began_ms == 0 else f"{took} (until {bar.ended_ms:.0f})"


def _bar(bar: Bar, y: float, height: float, scale: float) -> str:
    since_ms, until_ms = max(0.0, bar.began_ms), max(0.0, bar.ended_ms)
    width = max(0.5, scale * (until_ms - since_ms))
    return (
        f'<rect x="{LEFT + scale * since_ms:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{COLOURS[bar.kind]}"/>'
    )


def _mark(lines: Lines, y: float, height: float, scale: float) -> str:
    x = LEFT + scale * lines.end_of_turn_ms
    return f'<path d="M{x:.1f} {y} v{height}" stroke="{END_OF_TURN}" stroke-width="2"/>'


def _ticks(scale: float) -> Iterator[int]:
    """Every 100 ms, or so many hundreds that there are at most a dozen."""
    last_ms = (WIDTH - LEFT - RIGHT) / scale
    step_ms = 100 * max(1, round(last_ms / 1200))
    return iter(range(0, int(last_ms) + 1, step_ms))


def _grid(y: float, height: float, scale: float) -> Iterator[str]:
    for tick_ms in _ticks(scale):
        yield f'<path d="M{LEFT + scale * tick_ms:.1f} {y} v{height}" stroke="#e8e8e8"/>'


def _axis(y: float, scale: float) -> Iterator[str]:
    for tick_ms in _ticks(scale):
        yield _text(LEFT + scale * tick_ms, y + 14, f"{tick_ms}", anchor="middle", size=11)


def _legend(y: float) -> Iterator[str]:
    yield _text(10, y, "ms after the last sample of speech", size=11)
    x = 215.0
    for kind, colour in COLOURS.items():
        yield f'<rect x="{x:.0f}" y="{y - 9}" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 14, y, kind, size=11)
        x += 28 + 5.8 * len(kind)
    yield f'<path d="M{x:.0f} {y - 10} v12" stroke="{END_OF_TURN}" stroke-width="2"/>'
    yield _text(x + 6, y, "end of turn decided", size=11)


def _text(
    x: float, y: float, words: str, weight: str = "normal", anchor: str = "start", size: int = 13
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" '
        f'stroke="white" stroke-width="3" paint-order="stroke">{escape(words)}</text>'
    )
