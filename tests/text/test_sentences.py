# ruff: noqa: RUF001 - characters that look like others are what is tested

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.text.sentences import MOST_WORDS, SentenceSplitter, split_sentences

ATOMS = [
    "Hello", "the", "The", "I", "a", "x" * 30, "Dr.", "Mr.", "e.g.", "U.S.", "a.m.", "No.", "J.", "St.",
    "etc.", "5", "3.14", "1,000", "10:30", "1.", "2)", "http://a.b/c.d?e=1.", "me@x.co.", ".", "...",
    "…", "!", "?", ",", ";", ":", "-", "–", "(", ")", '"', "“", "”", "'", "*", "**", "#", "|", "|---|",
    "---", ">", "😀", "é", "`", "``", "```", "```py", "\n```\n", "你好", "。", "！", "？」", "，", "؟",
    "है।", " ", " ", " ", " ", "\n", "?!", "\n\n", "\n- ", "\n1. ", "\n  ", "\r\n", "\t", "\x00",
    "\xa0",
]  # fmt: skip
texts = st.lists(st.sampled_from(ATOMS), max_size=40).map("".join) | st.text()
limits = st.sampled_from([1, 2, 3, 10, 40, 220])


def split(text: str, cuts: list[int], longest_chars: int = 220, hurry: bool = False) -> list[str]:
    """`text` fed in pieces that end at `cuts`."""
    splitter = SentenceSplitter(longest_chars, hurry)
    pieces: list[str] = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(text)], strict=True):
        pieces += splitter.feed(text[begin:end])
    return pieces + splitter.end()


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hello!", "How can I help you?"],
        ["The moon goes around the earth.", "It takes about one month.", "It has no air and no water."],
        ["Ask Dr. Smith, Mrs. Lee and Prof. Brown vs. Mr. Green.", "They know."],
        ["It is 3.14, not 1,000.5 at 10:30.", "Version 2.0.1 is out.", "No. 5 is alive."],
        ["Is it so?", "No.", "It isn't."],
        ["The U.S. Army left the U.S. on Jan. 5 at 5 a.m. sharp.", "It was cold."],
        ["He came at 5 p.m.", "The train was late."],
        ["J. R. R. Tolkien and John F. Kennedy never met.", "George W. Bush neither."],
        ["Fruit, e.g. Apples, i.e. these.", "And pears, plums, etc.", "Monkeys like them."],
        ["Martin Luther King Jr. Day is in St. Paul.", "The Acme Inc. Building is near Mt. Rainier."],
        ["So do I.", "They agree.", "Take plan B.", "It works."],
        ["See https://example.com/a.b?c=d.", "Or write to me.you@mail.example.com.", "Use Node.js now."],
        ["Wait... what?", "Well... I see.", "He paused…", "Then he left."],
        ["“Stop!”", "She left.", '("Why?")', "He said “Really?” and laughed.", "(It was late.)", "Yes."],
        ["**Bold start.", "End** here.", "_It is._", "Good."],
        ["What?!", "No way!!", "Yahoo! is a name."],
        ["hello.", "how are you?", "i am fine."],
        ["Great! 😀", "Then we go.", "¿Qué tal?", "¡Bien!"],
        ["Ça va bien ?", "Oui !", "« Bonjour. »", "Il part."],
        ["Das ist z.B. Brot, bzw. Käse.", "Über uns ist Himmel."],
        ["ما هي عاصمة فرنسا؟", "باريس."],
        ["यह पेरिस है।", "वह बर्लिन है।"],
        ["3.5 tsp. baking powder, 5 min. rest.", "Then bake."],
        ["1. Boil water.", "2. Add tea.", "It is 5.", "Then drink."],
        ["The steps are: 1. Boil water.", "2. Drink."],
    ],
)
def test_sentences_on_one_line(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" \n\t ", []),
        ("no end mark", ["no end mark"]),
        ("A soft\nline  break.\tNext.", ["A soft line break.", "Next."]),
        ("A title\n\nThe text", ["A title", "The text"]),
        ("Buy:\n- eggs\n- milk\n\n* tea\nThat is all", ["Buy:", "- eggs", "- milk", "* tea", "That is all"]),
        ("1. one\n2. two\n   and a half\n10) ten", ["1. one", "2. two and a half", "10) ten"]),
        ("# Title\nText\n## More\ntext", ["# Title", "Text", "## More", "text"]),
        (
            "See\n| a | b. |\n|---|---|\n| 1. | 2 |\nend",
            ["See", "| a | b. |", "|---|---|", "| 1. | 2 |", "end"],
        ),
        ("One\n---\nTwo", ["One", "---", "Two"]),
        ("你好。我是小明！「真的吗？」是的", ["你好。", "我是小明！", "「真的吗？」", "是的"]),
        ("Code:\n```py\na. B\n\n- c ```\n```\nDone.", ["Code:", "```py\na. B\n\n- c ```\n```", "Done."]),
        ("Here: ```py\nx\n``` Then. Go", ["Here:", "```py\nx\n```", "Then.", "Go"]),
        ("Say ```a. B``` now. Go", ["Say", "```a. B```", "now.", "Go"]),
        ("Open ```\nfor. Ever", ["Open", "```\nfor. Ever"]),
        ("Use `a b` and ``c``. Go", ["Use `a b` and ``c``.", "Go"]),
    ],
)
def test_lines_lists_tables_and_code(text: str, pieces: list[str]) -> None:
    assert split_sentences(text) == pieces


@pytest.mark.parametrize(
    ("longest_chars", "text", "pieces"),
    [
        (20, "one two, three four five six", ["one two,", "three four five six"]),
        (20, "one (two) three – four five", ["one (two) three –", "four five"]),
        (20, "one two three four five six", ["one two three four", "five six"]),
        (20, "one two three and four five", ["one two three", "and four five"]),
        (20, "Now please ask Dr. Smith", ["Now please ask", "Dr. Smith"]),
        (4, "a bcdefghijk l", ["a", "bcde", "fghi", "jk l"]),
        (10, "你好，我是小明的朋友和同学", ["你好，", "我是小明的朋友和同学"]),
        (220, "w " * 70, ["w" + " w" * 29, "w" + " w" * 29, "w" + " w" * 9]),
        (220, "w " * 20 + "but " + "w " * 20, ["w" + " w" * 19, "but" + " w" * 20]),
        (220, "a" * 500, ["a" * 220, "a" * 220, "a" * 60]),
    ],
)
def test_long_pieces_are_cut_where_it_hurts_least(longest_chars: int, text: str, pieces: list[str]) -> None:
    assert split(text, [], longest_chars) == pieces


@pytest.mark.parametrize(
    ("heard", "following", "given"),
    [
        ("Hello. ", "H", ["Hello."]),
        ("Hello.", "\n\nH", ["Hello."]),
        ("你好。", "我", ["你好。"]),
        ("At 5 a.m. ", "T", []),  # a name may follow
        ("At 5 a.m. The ", "", ["At 5 a.m."]),
        ("- eggs\n", "- ", ["- eggs"]),
        ("```\nx\n```", "\n", ["```\nx\n```"]),
    ],
)
def test_a_piece_comes_as_soon_as_it_is_certain(heard: str, following: str, given: list[str]) -> None:
    splitter = SentenceSplitter()
    assert splitter.feed(heard) + splitter.feed(following) == given


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "The Nile, which flows through Egypt, is the longest river, they say. It is long, wide, and wet.",
            [
                "The Nile, which flows through Egypt,",
                "is the longest river,",
                "they say.",
                "It is long, wide, and wet.",
            ],
        ),
        ("The capital of Germany is Berlin. And so on.", ["The capital of Germany is Berlin.", "And so on."]),
        ("There are 1,000 of them, 2,000 here.", ["There are 1,000 of them,", "2,000 here."]),
        (
            "Well, Martin Luther King, Jr. was a man, who dreamt.",
            ["Well, Martin Luther King, Jr. was a man,", "who dreamt."],
        ),
        ("It is made by Acme, Inc. in Paris.", ["It is made by Acme, Inc. in Paris."]),
        ("I like it very much, etc. and so on.", ["I like it very much,", "etc. and so on."]),
        ("i like it very much, you too. it is so.", ["i like it very much,", "you too.", "it is so."]),
        ("These three are: one,\ntwo and three.", ["These three are: one, two and three."]),
    ],
)
def test_the_first_sentence_comes_clause_by_clause_in_a_hurry(text: str, pieces: list[str]) -> None:
    assert split(text, [], hurry=True) == pieces


def test_a_clause_comes_with_the_first_letter_behind_it() -> None:
    splitter = SentenceSplitter(hurry=True)
    assert splitter.feed("The river that I mean, w") == ["The river that I mean,"]
    splitter = SentenceSplitter(hurry=True)
    assert splitter.feed("The river that I mean, J") == []  # "Jr." belongs to the name before it
    assert splitter.feed("ohn knows. ") == ["The river that I mean,"]


def test_a_splitter_serves_one_answer_after_the_other() -> None:
    splitter = SentenceSplitter()
    for _ in range(2):
        assert splitter.feed("```\n1. Hello. The") + splitter.end() == ["```\n1. Hello. The"]
        assert splitter.feed("- One\n2") + splitter.end() == ["- One", "2"]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        SentenceSplitter(0)


@settings(deadline=None)  # a busy machine is no defect
@given(st.data(), texts, limits, st.booleans())
def test_the_cuts_of_the_stream_do_not_matter(
    data: st.DataObject, text: str, longest_chars: int, hurry: bool
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text))))
    whole = split(text, [], longest_chars, hurry)
    assert split(text, cuts, longest_chars, hurry) == whole
    assert split(text, list(range(len(text))), longest_chars, hurry) == whole


@settings(deadline=None)  # a busy machine is no defect
@given(texts, limits, st.booleans())
def test_no_character_is_lost_and_no_piece_is_empty_or_too_long(
    text: str, longest_chars: int, hurry: bool
) -> None:
    pieces = split(text, [], longest_chars, hurry)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    for piece in pieces:
        assert piece == piece.strip() != ""
        assert len(piece) <= longest_chars or piece.startswith("```")


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(st.sampled_from(["word", "and", "Dr.", "a,", "5", "J.", "(b)", "The", "c."]), max_size=120))
def test_no_piece_has_many_words_without_punctuation(words: list[str]) -> None:
    for piece in split(" ".join(words), [], longest_chars=10_000):
        for stretch in re.split(r"[,()]", piece):
            assert len(stretch.split()) <= MOST_WORDS


@pytest.mark.parametrize("unit", ["The cost, of Dr. No, is 3.14.\n- x ", "a", "`", "```\nx\n```\n", ".", " "])
def test_a_megabyte_in_small_pieces_takes_seconds(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    splitter = SentenceSplitter()
    begin_s = time.process_time()
    chars = sum(len(piece) for at in range(0, len(text), 3) for piece in splitter.feed(text[at : at + 3]))
    chars += sum(map(len, splitter.end()))
    assert time.process_time() - begin_s < 20  # in quadratic time: minutes
    assert chars >= len("".join(text.split()))
