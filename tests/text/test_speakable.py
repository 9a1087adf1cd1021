# ruff: noqa: RUF001 - characters that look like others are what is tested

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piper.phonemize_espeak import EspeakPhonemizer

from assistant.text.sentences import split_sentences
from assistant.text.speakable import CODE, speakable

UNSPEAKABLE = re.compile(
    r"[*`#_~|<>\[\]{}\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff]"
)
EMOJI = re.compile(r"[\u2190-\u21ff\u231a-\u23ff\u25aa-\u27bf\u2b05-\u2b55\ufe0e\ufe0f\U0001f000-\U0001faff]")
ATOMS = [
    "*", "**", "_", "__", "`", "```", "#", "## ", "~", "~~", "|", "<", ">", "[", "]", "](", "![", "]]",
    "{", "}", "\\", "(", ")", "^", "+", "++", "-", "--", "–", "=", "==", "!=", "->", "/", "&", "&amp;",
    "&#27;", "%", "$", "€", "°", "°C", "½", "²", "⁻", "①", "×", "−", "→", "…", "...", ".", ",", ";",
    ":", "!", "?", '"', "5", "10", "1/2", "1. ", "- ", "> ", "• ", "a", "A", "A.", "C#", "e.g.", "etc.",
    "Dr.", "Mr", "No.", "a.m.", "km", "km/h", "m²", "and/or", "TCP/IP", "http://", "www.", "a.b", "@",
    "<b>", "</p>", "<br/>", "<!--", "😀", "👨\u200d👩", "🇩🇪", "5\ufe0f\u20e3", "\u200b", "\u202e",
    "\x00", "\x1b[", "\ud83d", "é", "你好", "。", "St.", "'", "-->", "&lt;", "مر", " ", " ", " ", " ",
    "\n", "\n\n", "\t", "\r\n", "\xa0",
]  # fmt: skip
anything = st.lists(st.sampled_from(ATOMS), max_size=25).map("".join) | st.text(st.characters())


@pytest.mark.parametrize(
    "sentence",
    [
        "Hello! How can I help you?",
        "The capital of France is Paris.",
        "The opposite of hot is cold.",
        "A cow says moo.",
        "Monday comes after Sunday.",
        "Seven plus eight is fifteen.",
        "Light travels about three hundred thousand kilometers per second.",
        "Leonardo da Vinci painted the Mona Lisa.",
        "I am a small voice assistant, and I run on this board.",
        "Why did the robot cross the road? It was told to by the chicken.",
        "The moon goes around the earth. It takes about one month. It has no air and no water.",
        "Nice to meet you, Anna.",
        "I do not know that.",
        "It was 3.14, not 1,000; at 10:30 (in 1986)!",
        "He's well-known: “a rock 'n' roll star” – since 2001...",
        'So do I. "They" agree, e-mail them.',
        "Schöne Grüße aus Köln, Straße und Übergröße.",
        "你好。我是小明！真的吗？",
        "ما هي عاصمة فرنسا؟",
        "Ελλάδα και Россия.",
    ],
)
def test_plain_sentences_stay_as_they_are(sentence: str) -> None:
    assert speakable(sentence) == sentence


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("**Bold start. ", "Bold start."),
        ("End** here.", "End here."),
        ("__all__ *of* _it_ ***now***", "all of it now"),
        ("~~gone~~ snake_case_name", "gone snake case name"),
        ("## A heading ##", "A heading."),
        ("- item one", "item one."),
        ("* [x] done!", "done!"),
        ("1. Boil *water*", "1, Boil water."),
        ("**2.** Add tea", "2, Add tea."),
        ("1986. A good year", "1986. A good year"),
        ("> A quote", "A quote"),
        ("Title\n=====\nText\n\n- milk\n- eggs\n\nEnd", "Title. Text. milk. eggs. End"),
        ("| Name | Age |", "Name, Age."),
        ("|---|:-:|", ""),
        ("| Tom | 5 % |\n| Tim | 6 |", "Tom, 5 percent. Tim, 6."),
        ("***", ""),
        ("😀!", ""),
        ("```py\nx = [1]\n```", CODE),
        ("So:\n```\nx\n```\nthat", f"So: {CODE} that"),
        ("```py\nx", CODE),
        ("Use ```ls``` or `pip install x`.", "Use ls or pip install x."),
        ('See [the docs](https://docs.python.org/3/a_(b) "t") and [that][1x].', "See the docs and that."),
        ("![A cat](cat.png) [half", "A cat half"),
        ("a link](http://example.com", "a link"),
        ("Paris.[1][2] So[^3] it is.", "Paris. So it is."),
        ("Go to https://www.example.com/a?b=c. Now", "Go to example dot com. Now"),
        ("(http://user@my-host.org:80/a_(b)) and www.x.de!", "(my-host dot org) and x dot de!"),
        ("<https://a.org> or <me@b.co>", "a dot org or me at b dot co"),
        ("Write to john.doe_x@mail.example.com.", "Write to john dot doe x at mail dot example dot com."),
        ("<b>Bold</b>ly <break time='1s'/>go<br>on", "Boldly go. on"),
        ('<p class="x">One</p><p>Two</p>', "One. Two"),
        ("List<String> a <!-- note --> b", "List String a b"),
        ("<|assistant|> Hello.</s>", "Hello."),
        ("AT&amp;T &quot;x&quot; &#65;", 'AT and T "x" A'),
        ("[[h@l'oU]] {there}", "h@l'oU there"),
        ("Hello 😀! 👨\u200d👩\u200d👧 Great🎉 ❤\ufe0f", "Hello! Great"),
        ("5\ufe0f\u20e3 ① 𝐛𝐨𝐥𝐝 H₂O", "5 1 bold H2O"),
        ("a\x00b \x1b[31mred\x1b[0m \u202ex\u200by", "ab red xy"),
        ("  a \n b\xa0c ", "a b c"),
        ("C:\\Users \\*x\\*", "C: Users x"),
    ],
)
def test_markup_is_not_read_aloud(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("-5 °C, 1 °C", "minus 5 degrees Celsius, 1 degree Celsius"),
        ("It has 70°F or 90°.", "It has 70 degrees Fahrenheit or 90 degrees."),
        ("20% (or 3.5 %)", "20 percent (or 3.5 percent)"),
        ("$5, $1, €3.50", "5 dollars, 1 dollar, 3.50 euros"),
        ("£2k and 5,50 €.", "2 thousand pounds and 5,50 euros."),
        ("$5 million, $5-10", "5 million dollars, 5 to 10 dollars"),
        ("-$3/month", "minus 3 dollars per month"),
        ("100 km/h, 5 m², 1 km", "100 kilometers per hour, 5 square meters, 1 kilometer"),
        ("6 ft 1 ft", "6 feet 1 foot"),
        ("8GB, 2.4 GHz, 3 kWh, 5 mg", "8 gigabytes, 2.4 gigahertz, 3 kilowatt hours, 5 milligrams"),
        ("5-10 people, 10:30–11:00", "5 to 10 people, 10:30 to 11:00"),
        ("2024-05-01, 555-1234, F-16, 50-50", "2024 05 01, 555 1234, F-16, 50 50"),
        ("2+3=5", "2 plus 3 equals 5"),
        ("5-3=2, 5 − 3, 10 - 3", "5 minus 3 equals 2, 5 minus 3, 10 minus 3"),
        ("2*3, 2 × 3, 2 x 3", "2 times 3, 2 times 3, 2 times 3"),
        ("6÷2, 6 / 2", "6 divided by 2, 6 divided by 2"),
        ("x² + y^3 = 2^8", "x squared plus y cubed equals 2 to the power of 8"),
        ("10⁻³", "10 to the power of minus 3"),
        ("x < 5, y >= 3", "x less than 5, y greater than or equal to 3"),
        ("2 ≤ 3, a != b", "2 less than or equal to 3, a is not equal to b"),
        ("~5, ± 2, ≈ 3", "about 5, plus or minus 2, about 3"),
        ("10/2 = 5", "10 divided by 2 equals 5"),
        (
            "Bake at 180°C/350°F (2 tsp. salt).",
            "Bake at 180 degrees Celsius or 350 degrees Fahrenheit (2 teaspoons salt).",
        ),
        ("the yuan (¥), £ and €", "the yuan (yen), pounds and euros"),
        ("½, 2½, 3/4, 1 1/3, 24/7", "one half, 2 and one half, three quarters, 1 and one third, 24/7"),
        ("A → B -> C", "A to B to C"),
        ("#5, #1 #cool C# F#", "number 5, number 1 cool C sharp F sharp"),
        ("C++ and 18+", "C plus plus and 18 plus"),
        ("he/she, and/or, TCP/IP, salt / pepper", "he or she, and or, TCP IP, salt or pepper"),
        ("Q&A & more", "Q and A and more"),
        ("File > Open, a -- b, --help, x | y", "File, Open, a – b, help, x, y"),
    ],
)
def test_symbols_and_units_become_words(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (
            "Dr. Smith, Mr. Lee and Mrs. Ray met Prof. Bo.",
            "Doctor Smith, Mister Lee and Mrs Ray met Professor Bo.",
        ),
        ("St. Paul lived in Main St. then.", "Saint Paul lived in Main Street then."),
        ("John F. Kennedy read J. R. R. Tolkien.", "John F Kennedy read J R R Tolkien."),
        ("The U.S. Army came at 5 a.m. Monday.", "The US Army came at 5 AM Monday."),
        ("No. 5 and Fig. 3 on p. 7, Jan. 5.", "Number 5 and Figure 3 on page 7, January 5."),
        (
            "Fruit, e.g. Apples (i.e. these), vs. Nuts.",
            "Fruit, for example Apples (that is these), versus Nuts.",
        ),
        ("Pears, etc. Or plums etc. and so on.", "Pears, et cetera. Or plums et cetera and so on."),
        ("Well... I think… so.", "Well, I think, so."),
        (
            "Open 9 a.m.-5 p.m., incl. Sunday, approx. 8 h.",
            "Open 9 a.m. to 5 p.m., including Sunday, approximately 8 hours.",
        ),
        ("Look into /etc/passwd.", "Look into /etc/passwd."),
        ("\u017fec. 5 in old print", "section 5 in old print"),
    ],
)
def test_abbreviations_end_no_sentence_for_the_synthesiser(text: str, spoken: str) -> None:
    assert speakable(text) == spoken
    for piece in split_sentences(text):
        assert len(EspeakPhonemizer().phonemize("en-us", speakable(piece))) == 1


@settings(deadline=None)  # a busy machine is no defect
@given(anything)
def test_what_is_speakable_is_words_and_punctuation(text: str) -> None:
    spoken = speakable(text)
    assert not UNSPEAKABLE.search(spoken)
    assert not EMOJI.search(spoken)
    assert spoken == " ".join(spoken.split())
    assert not spoken or any(map(str.isalnum, spoken))
    assert speakable(spoken) == spoken


@settings(deadline=None)  # a busy machine is no defect
@given(anything)
def test_the_pieces_of_an_answer_are_speakable_too(text: str) -> None:
    for piece in split_sentences(text):
        assert not UNSPEAKABLE.search(speakable(piece))


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(st.sampled_from(["one", "Two", "drei", "vier,", "你好", "مرحبا", "fünf:", "6"]), min_size=1))
def test_words_stay_in_their_order(words: list[str]) -> None:
    marked = " ".join(f"**{word}**" if i % 2 else f"_{word}_" for i, word in enumerate(words))
    assert speakable(marked) == speakable(" ".join(words))
    assert re.findall(r"\w+", speakable(marked)) == re.findall(r"\w+", " ".join(words))


@pytest.mark.parametrize(
    "unit", ["It is $5 (-3 °C) for Dr. Smith! ", "](", "<a ", "A. ", ".", "-", "1.", "( "]
)
def test_a_long_text_takes_no_longer_than_its_length_says(unit: str) -> None:
    begin_s = time.process_time()
    speakable(unit * (50_000 // len(unit)))
    assert time.process_time() - begin_s < 8  # in quadratic time: minutes
