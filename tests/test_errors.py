from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Müller's 麦克风, USB", "Müller's 麦克风, USB"),
        ("\x1b[2Jgone", "?[2Jgone"),
        ("two\nlines\u2028three", "two?lines?three"),
        ("\u202eback\u200b \ud800", "?back? ?"),
    ],
)
def test_a_strangers_words_stay_in_their_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


@given(st.text())
def test_nothing_is_left_that_is_not_seen(text: str) -> None:
    assert one_line(text).isprintable()
    assert len(one_line(text)) == len(text)
