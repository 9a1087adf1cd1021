"""The picture is XML, shows every turn, and stays inside its frame."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from benchmarks.plain_chain import Answered
from benchmarks.turns import Turn, Work
from benchmarks.waterfall import COLOURS, Lines, fast_lines, plain_lines, svg

SVG = "{http://www.w3.org/2000/svg}"
WORKS = (
    Work("stt", 0, -90, -10, -10),
    Work("llm", 0, -9, 60, 70),
    Work("stt", 1, 110, 240, 240),
    Work("llm", 1, 241, 400, 900),
    Work("tts", 1, 646, 780, 830),
)
FAST = Turn("q00 <&>", 8, 109, 509, 645, 800, 2700, 1, WORKS, ())
PLAIN = Answered("What?", "That.", 2.2, 2.7, 500, 400, 300, 200, 10)


def picture(*lines: Lines) -> ElementTree.Element:
    return ElementTree.fromstring(svg([("one", lines[0])], [("all", lines)]))


def rectangles(root: ElementTree.Element, colour: str) -> list[ElementTree.Element]:
    # the last one of each colour is the legend's
    return [each for each in root.iter(f"{SVG}rect") if each.get("fill") == colour][:-1]


@pytest.mark.parametrize("lines", [fast_lines(FAST), plain_lines("q00 <&>", PLAIN, 2.2)])
def test_every_bar_is_in_the_detail_and_in_the_row(lines: Lines) -> None:
    root = picture(lines)
    for kind in {bar.kind for bar in lines.bars}:
        bars = [bar for bar in lines.bars if bar.kind == kind]
        assert len(rectangles(root, COLOURS[kind])) == 2 * len(bars)
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert "q00 <&>" in words
    assert f"{lines.sound_ms:.0f} ms" in words


@pytest.mark.parametrize("sound_ms", [200, 801, 3_000, 60_000])
def test_nothing_lies_outside_the_frame(sound_ms: float) -> None:
    root = picture(fast_lines(FAST), fast_lines(FAST._replace(first_sound_ms=sound_ms)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for x, y, wide, high in corners(root):
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + high <= height


def corners(root: ElementTree.Element) -> Iterator[tuple[float, float, float, float]]:
    for each in root.iter(f"{SVG}rect"):
        yield (
            float(each.get("x", 0)),
            float(each.get("y", 0)),
            float(each.get("width", 0)),
            float(each.get("height", 0)),
        )
    for each in root.iter(f"{SVG}text"):
        yield float(each.get("x", 0)), float(each.get("y", 0)), 0.0, 0.0


def test_of_stale_work_only_what_held_the_answer_up_is_drawn() -> None:
    stale = [bar for bar in fast_lines(FAST).bars if bar.kind == "stale"]
    assert [(bar.began_ms, bar.ended_ms) for bar in stale] == [(-9, 70)]


def test_the_plain_chain_works_behind_the_hangover_one_stage_after_the_other() -> None:
    lines = plain_lines("q00", PLAIN, 2.2)
    ends = [round(bar.ended_ms) for bar in lines.bars[:-1]]
    assert ends == [500, 1000, 1400, 1700, 1900]
    assert round(lines.sound_ms) == 1910 == round(1000 * (PLAIN.first_sound_s - 2.2))
