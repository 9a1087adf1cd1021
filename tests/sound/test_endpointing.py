"""Endpointing: hand-made examples, then what must hold for any sequence of voice decisions."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.audio.endpointing import (
    Dropped,
    Ended,
    Endpointer,
    Event,
    Glimpse,
    Paused,
    Resumed,
    Started,
    quietest,
)
from assistant.audio.formats import FRAME_BYTES, FRAME_SAMPLES
from assistant.config import Vad

DEFAULT = Vad(tentative_pause_ms=100, pre_roll_ms=300)


def frame(number: int, level: int = 0) -> bytes:
    """A frame that says which one it is in its first two samples, and is `level` loud."""
    return struct.pack("<HH", number % 65_536, 0) + struct.pack("<h", level) * (FRAME_SAMPLES - 2)


def numbers(pcm: bytes) -> list[int]:
    return [struct.unpack_from("<H", pcm, at)[0] for at in range(0, len(pcm), FRAME_BYTES)]


def flags(text: str) -> list[bool]:
    """ "3v 10." is three voiced frames and ten without a voice."""
    return [kind == "v" for count, kind in re.findall(r"(\d+)([v.])", text) for _ in range(int(count))]


def run(
    vad: Vad, voiced: Iterable[bool], levels: list[int] | None = None, faint: Sequence[bool] = ()
) -> list[tuple[int, Event]]:
    """Every event with the number of the frame after which it came; the end of the recording has the last."""
    endpointer = Endpointer(vad)
    events: list[tuple[int, Event]] = []
    number = -1
    for number, decision in enumerate(voiced):
        sound = frame(number, levels[number] if levels else 0)
        perhaps = number < len(faint) and faint[number]
        events += [(number, event) for event in endpointer.feed(sound, decision, perhaps)]
    return events + [(number, event) for event in endpointer.end()]


def utterances(events: list[tuple[int, Event]]) -> list[list[int]]:
    """The numbers of the frames in each utterance that ended."""
    found: list[list[int]] = []
    last: list[int] = []
    for _, event in events:
        if isinstance(event, Paused):
            last = numbers(event.pcm)
        elif isinstance(event, Ended):
            found.append(last)
    return found


def test_one_utterance_with_a_pause_in_it() -> None:
    events = run(DEFAULT, flags("50. 40v 20. 30v 60."))

    assert [(at, type(event)) for at, event in events] == [
        (52, Started),  # the third voiced frame
        (94, Paused),  # 100 ms after frame 89
        (112, Resumed),  # the third voiced frame again
        (144, Paused),
        (174, Ended),  # 700 ms after frame 139
    ]
    first, second = (event for _, event in events if isinstance(event, Paused))
    assert numbers(first.pcm) == list(range(35, 95))  # 300 ms of pre-roll, 100 ms of the pause
    assert numbers(second.pcm) == list(range(35, 145))
    assert (first.voiced_ms, second.voiced_ms) == (800, 1400)
    assert (first.revision, second.revision) == (0, 1)
    assert (first.start_sample, first.speech_end_sample) == (35 * 320, 90 * 320)
    assert events[0][1] == Started(50 * 320)
    assert events[2][1] == Resumed(1)
    assert events[4][1] == Ended(1, 140 * 320)


@pytest.mark.parametrize(
    ("voiced", "kinds"),
    [
        ("100.", ""),
        ("20. 2v 50.", ""),  # a click
        ("1v 9. 1v 9. 1v 9. 1v 9. 2v 9.", ""),  # ticking
        ("20. 1v 1. 1v 1. 1v 50.", "SD"),  # three of five, but too short to be speech
        ("20. 7v 50.", "SD"),
        ("20. 8v 50.", "SPE"),  # 160 ms
        ("20. 8v 12. 1v 9. 2v 30.", "SPE"),  # flicker in a pause is no speech, and the pause goes on
        ("20. 8v 12. 3v 30.", "SPRPE"),
        ("20. 5v 12. 5v 40.", "SPE"),  # no pause is announced before there is speech enough
        ("20. 8v", "SPE"),  # the recording ends while somebody speaks
        ("20. 8v 15.", "SPE"),  # … within the hangover
        ("20. 4v", "SD"),
        ("8v 50.", "SPE"),  # from the first frame on
        ("8v 50. 8v 50.", "SPESPE"),
        ("", ""),
    ],
)
def test_events(voiced: str, kinds: str) -> None:
    assert "".join(type(event).__name__[0] for _, event in run(DEFAULT, flags(voiced))) == kinds


@pytest.mark.parametrize(
    ("faint", "paused"),
    [
        ("100.", 44),
        ("40. 3v 57.", 44),
        ("40. 5v 55.", 45),
        ("40. 11v 49.", 51),
        ("40. 60v", 55),
    ],
)
def test_while_something_of_a_voice_may_be_left_a_pause_waits_a_little(faint: str, paused: int) -> None:
    events = run(DEFAULT, flags("20. 20v 60."), faint=flags(faint))
    assert [(at, type(event)) for at, event in events] == [(22, Started), (paused, Paused), (74, Ended)]
    assert utterances(events) == [list(range(5, paused + 1))]


@pytest.mark.parametrize(
    ("faint", "begin"),
    [
        ("100.", 45),
        ("50. 10v", 35),
        ("50. 3v 7.", 35),  # the pause between two words
        ("50. 2v 8.", 45),  # what may have been a voice before is another one's
        ("40. 3v 7. 3v 7.", 25),
        ("60v", 5),  # 800 ms at most
        ("100v", 5),
    ],
)
def test_an_utterance_reaches_back_as_far_as_a_voice_may_have_been(faint: str, begin: int) -> None:
    events = run(DEFAULT, flags("60. 20v 60."), faint=flags(faint))
    assert events[0][1] == Started(60 * FRAME_SAMPLES)
    assert utterances(events)[0][0] == begin


@pytest.mark.parametrize(
    ("voiced", "kinds", "begin", "end"),
    [
        ("30. 4v 50. 20v 60.", "SDSPE", 15, 109),  # "And", and a pause
        ("30. 1v 59. 20v 60.", "SPE", 15, 115),
        ("30. 1v 60. 20v 60.", "SPE", 76, 116),  # longer ago
        ("30. 7v 40. 7v 60.", "SDSD", None, None),  # two noises do not make speech
        ("30. 9v 50. 20v 60.", "SPESPE", 74, 114),  # an utterance of its own
    ],
)
def test_a_word_too_short_to_be_speech_belongs_to_what_follows(
    voiced: str, kinds: str, begin: int | None, end: int | None
) -> None:
    events = run(DEFAULT, flags(voiced))
    assert "".join(type(event).__name__[0] for _, event in events) == kinds
    if begin is not None and end is not None:
        last = [event for _, event in events if isinstance(event, Paused)][-1]
        assert (numbers(last.pcm)[0], numbers(last.pcm)[-1]) == (begin, end - 1)
        assert last.voiced_ms == 400


@pytest.mark.parametrize("before", [0, 1, 5, 50])
def test_what_was_voiced_before_belongs_to_it_at_the_very_beginning_too(before: int) -> None:
    events = run(Vad(pre_roll_ms=0), flags(f"{before}. 1v 3. 20v 60."))
    assert utterances(events)[0][0] == before


def test_a_pause_as_long_as_the_hangover_is_announced_and_ends_at_once() -> None:
    vad = Vad(tentative_pause_ms=900, hangover_ms=300)
    events = run(vad, flags("20. 20v 60."))
    assert [(at, type(event)) for at, event in events] == [(22, Started), (54, Paused), (54, Ended)]


def test_the_recording_after_the_first_pause_is_not_part_of_the_utterance() -> None:
    assert utterances(run(DEFAULT, flags("20. 20v 30."))) == [list(range(5, 45))]


def test_pre_roll_never_reaches_into_the_utterance_before() -> None:
    vad = Vad(pre_roll_ms=600, tentative_pause_ms=100, hangover_ms=240)
    first, second = utterances(run(vad, flags("40. 20v 13. 20v 20.")))
    assert first == list(range(10, 65))
    assert second == list(range(65, 98))


def test_too_long_speech_is_split_at_its_quietest_place_and_nothing_is_lost() -> None:
    vad = Vad(max_utterance_s=2, pre_roll_ms=300)
    levels = [1000] * 260
    levels[60:68] = [10] * 8  # quieter still, but not in the last third
    levels[82:90] = [100] * 8
    events = run(vad, [True] * 260, levels)
    parts = utterances(events)
    assert parts[0] == list(range(86))  # the middle of the quiet place
    assert [number for part in parts for number in part] == list(range(260))
    assert all(len(part) <= 100 for part in parts)
    splits = [(at, event) for at, event in events if isinstance(event, (Started, Ended))][1:3]
    assert splits == [(99, Ended(0, 86 * 320)), (99, Started(86 * 320))]


def test_silence_behind_a_split_is_no_utterance() -> None:
    vad = Vad(max_utterance_s=2, tentative_pause_ms=700, hangover_ms=700)
    events = run(vad, flags("75v 60."), [1000] * 75 + [0] * 60)
    assert [type(event) for _, event in events] == [Started, Paused, Ended]


@pytest.mark.parametrize(
    ("levels", "earliest", "place"),
    [
        ([9] * 30, 0, 26),  # the last of equals
        ([9] * 10 + [1] * 8 + [9] * 12, 0, 14),
        ([1] * 10 + [9] * 10 + [5] * 10, 10, 26),
        ([9] * 30, 25, 30),  # no room
        ([9] * 30, 22, 26),
    ],
)
def test_quietest(levels: list[int], earliest: int, place: int) -> None:
    assert quietest([frame(0, level) for level in levels], earliest) == place


EXPECTATIONS = "20. 20v 10. 10v 100."
"""Speech, a pause that is none, more speech until frame 59, and silence; revision 0 pauses after frame 44."""


@pytest.mark.parametrize(
    ("after", "revision", "hangover_ms", "ends"),
    [
        (64, 1, 300, 74),  # announced with frame 64, and 300 ms later there was an answer already
        (64, 1, 1500, 134),
        (80, 1, 300, 81),  # told late: with the next frame
        (64, 1, 40, 65),
        (64, 0, 300, 94),  # of the pause before: void
        (64, 2, 300, 94),
        (63, 1, 300, 94),  # there is no pause yet
        (46, 0, 300, 94),  # another pause, another silence
    ],
)
def test_a_pause_may_want_another_silence(after: int, revision: int, hangover_ms: int, ends: int) -> None:
    endpointer = Endpointer(DEFAULT)
    ended = []
    for number, voiced in enumerate(flags(EXPECTATIONS)):
        events = endpointer.feed(frame(number), voiced)
        ended += [number for event in events if isinstance(event, Ended)]
        if number == after:
            endpointer.expect(revision, hangover_ms)
    assert ended == [ends]


@pytest.mark.parametrize(
    ("hangover_ms", "faint", "ends"),
    [
        (300, "120v", 56),  # announced with frame 55
        (700, "120v", 74),
        (1000, "120.", 89),
        (1000, "45v 75.", 94),
        (1000, "44. 76v", 89),  # what may be a voice after a silence is another one
        (1000, "120v", 100),  # 220 ms at most
    ],
)
def test_who_is_waited_for_may_have_faded_first(hangover_ms: int, faint: str, ends: int) -> None:
    endpointer = Endpointer(DEFAULT)
    ended = []
    for number, perhaps in enumerate(flags(faint)):
        events = endpointer.feed(frame(number), 20 <= number < 40, perhaps)
        ended += [number for event in events if isinstance(event, Ended)]
        if any(isinstance(event, Paused) for event in events):
            endpointer.expect(0, hangover_ms)
    assert ended == [ends]


@pytest.mark.parametrize(
    ("hangover_ms", "faint", "pauses", "ends"),
    [
        (1000, "200.", [44], 89),
        (700, "60. 5v 135.", [44], 74),  # nobody is waited for
        (1000, "60. 3v 137.", [44], 89),  # too short for a word
        (1000, "60. 5v 135.", [44, 69], 114),  # a word, and a pause: it is read, and silence counts from it
        (1000, "50. 5v 10. 5v 130.", [44, 59, 74], 119),
        (1000, "50. 5v 10. 5v 10. 5v 115.", [44, 59, 74], 119),  # that is noise
        (1000, "45. 155v", [44, 69], 89),  # steady noise: after half a second
        (1000, "83. 5v 112.", [44, 92], 137),
        (1000, "86. 5v 109.", [44, 95], 140),  # it is heard out before the end
        (1000, "86. 114v", [44], 96),  # but noise is not
        (1000, "20. 31v 9. 5v 135.", [51, 69], 114),  # what came before the word faded, it did not
        (1000, "20. 31v 14. 5v 130.", [51, 74], 119),
    ],
)
def test_a_weak_last_word_behind_a_pause_is_read_too(
    hangover_ms: int, faint: str, pauses: list[int], ends: int
) -> None:
    endpointer = Endpointer(DEFAULT)
    events = []
    for number, perhaps in enumerate(flags(faint)):
        for event in endpointer.feed(frame(number), 20 <= number < 40, perhaps):
            events.append((number, event))
            if isinstance(event, Paused):
                endpointer.expect(event.revision, hangover_ms)
    heard = [(number, event) for number, event in events if isinstance(event, Paused)]
    assert [number for number, _ in heard] == pauses
    assert [number for number, event in events if isinstance(event, Ended)] == [ends]
    assert isinstance(events[-1][1], Ended)
    assert events[-1][1].revision == len(pauses) - 1
    assert [numbers(paused.pcm) for _, paused in heard] == [list(range(5, at + 1)) for at in pauses]
    assert [event.revision for _, event in events if isinstance(event, Resumed)] == [*range(1, len(pauses))]


@pytest.mark.parametrize(("told", "ends"), [({}, 114), ({1: 700}, 99), ({1: 280}, 78)])
def test_a_weak_last_word_is_waited_behind_until_it_is_known_how_that_reads(
    told: dict[int, int], ends: int
) -> None:
    endpointer = Endpointer(DEFAULT)
    ended = []
    for number, perhaps in enumerate(flags("60. 5v 135.")):
        events = endpointer.feed(frame(number), 20 <= number < 40, perhaps)
        ended += [number for event in events if isinstance(event, Ended)]
        for revision, hangover_ms in ({0: 1000} | told).items():
            if number == 44 + 33 * revision:
                endpointer.expect(revision, hangover_ms)
    assert ended == [ends]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 14), st.integers(0, 14)), min_size=60, max_size=60), st.booleans())
def test_whatever_noise_there_is_a_sentence_is_not_waited_for_long(
    noise: list[tuple[int, int]], is_told_late: bool
) -> None:
    faint = [perhaps for weak, none in noise for perhaps in [True] * weak + [False] * none]
    endpointer = Endpointer(DEFAULT)
    paused: Paused | None = None
    for number in range(20 + 20 + 300):
        events = endpointer.feed(frame(number), 20 <= number < 40, faint[number % len(faint)])
        if is_told_late and paused is not None:
            endpointer.expect(paused.revision, 1000)
        paused = next((event for event in events if isinstance(event, Paused)), paused)
        if not is_told_late and paused is not None:
            endpointer.expect(paused.revision, 1000)
        if any(isinstance(event, Ended) for event in events):
            break
    assert paused is not None
    assert paused.revision <= 2
    assert number <= 40 + 3 * (50 + 11 + 11 + 5)


@pytest.mark.parametrize("silence", [36, 50, 90])
def test_behind_a_long_noise_that_was_none_an_utterance_has_its_pre_roll(silence: int) -> None:
    """A click and two knocks, none of them speech, and together longer than what is kept."""
    voiced = flags(f"100. 1v 54. 3v 30. 3v {silence}. 20v 60.")
    events = run(DEFAULT, voiced, faint=flags("101. 54v"))
    assert "".join(type(event).__name__[0] for _, event in events) == "SDSPE"
    assert utterances(events)[0][0] == 191 + silence - 15


def test_an_expectation_is_for_one_utterance() -> None:
    endpointer = Endpointer(DEFAULT)
    ended = []
    for number, voiced in enumerate(flags("20v 60. 20v 60.")):
        ended += [number for event in endpointer.feed(frame(number), voiced) if isinstance(event, Ended)]
        if number == 30:
            endpointer.expect(0, 300)
    assert ended == [34, 134]


def test_without_speculation_a_pause_is_the_end() -> None:
    endpointer = Endpointer(DEFAULT)
    endpointer.speculate(worth_it=False, look_every_ms=0)
    kinds = ""
    for number, voiced in enumerate(flags("20. 20v 30. 20v 60.")):
        kinds += "".join(type(event).__name__[0] for event in endpointer.feed(frame(number), voiced))
    assert kinds == "SPE"
    endpointer.speculate(worth_it=True, look_every_ms=0)
    for number, voiced in enumerate(flags("20v 30. 20v 60.")):
        kinds += "".join(type(event).__name__[0] for event in endpointer.feed(frame(number), voiced))
    assert kinds == "SPESPRPE"


@pytest.mark.parametrize("every_ms", [100, 500, 510, 5000])
def test_glimpses_while_somebody_speaks(every_ms: int) -> None:
    endpointer = Endpointer(DEFAULT)
    endpointer.speculate(worth_it=True, look_every_ms=every_ms)
    events = [
        (number, event)
        for number, voiced in enumerate(flags("20. 80v 10. 80v 60. 40v"))
        for event in endpointer.feed(frame(number), voiced)
    ]
    without = Endpointer(DEFAULT)
    others = [
        (number, event)
        for number, voiced in enumerate(flags("20. 80v 10. 80v 60. 40v"))
        for event in without.feed(frame(number), voiced)
    ]
    assert [each for each in events if not isinstance(each[1], Glimpse)] == others
    every = -(-every_ms // 20)
    # the third voiced frame begins an utterance or goes on with it, the pause is after the fifth silent one
    expected = [*range(22 + every, 100, every), *range(max(104 + every, 112), 190, every)]
    looks = [(number, event) for number, event in events if isinstance(event, Glimpse) and number < 190]
    assert [number for number, _ in looks] == expected
    for number, look in looks:
        assert numbers(look.pcm) == list(range(5, number + 1))
        assert look.revision == (number > 100)
        assert look.voiced_ms == 20 * (min(number + 1, 100) - 20 + max(0, number - 109))


@pytest.mark.parametrize("length", [0, 2, FRAME_BYTES - 1, FRAME_BYTES + 2])
def test_a_frame_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="640 bytes"):
        Endpointer(DEFAULT).feed(bytes(length), True)


# ---------------------------------------------------------------- properties

VADS = st.builds(
    Vad,
    pre_roll_ms=st.sampled_from([0, 20, 300, 2000]),
    tentative_pause_ms=st.sampled_from([40, 100, 200, 5000]),
    hangover_ms=st.sampled_from([100, 200, 700, 5000]),
    min_speech_ms=st.sampled_from([0, 150, 400, 5000]),
    max_utterance_s=st.sampled_from([2, 9]),
)
RUNS = st.lists(
    st.tuples(st.booleans(), st.one_of(st.integers(1, 6), st.integers(1, 60))),
    max_size=25,
).map(lambda runs: [kind for kind, length in runs for _ in range(length)])
LEVELS = st.randoms(use_true_random=False)
GRAMMAR = re.compile(r"(S(PR)*(PE|D))*")


@settings(deadline=None)
@given(VADS, RUNS, RUNS, LEVELS)
def test_events_come_in_order_and_no_utterance_is_too_long(
    vad: Vad, voiced: list[bool], faint: list[bool], dice: Random
) -> None:
    levels = [dice.randrange(2000) for _ in voiced]
    events = run(vad, voiced, levels, faint)

    assert GRAMMAR.fullmatch("".join(type(event).__name__[0] for _, event in events))
    revision, latest = 0, Started(0)
    for at, event in events:
        match event:
            case Started(sample):
                revision, latest = 0, event
                assert voiced[sample // FRAME_SAMPLES]
            case Resumed():
                revision += 1
                assert event.revision == revision
            case Paused():
                inside = numbers(event.pcm)
                start = event.start_sample // FRAME_SAMPLES
                assert inside == list(range(start, start + len(inside)))
                assert len(inside) <= 50 * vad.max_utterance_s
                assert inside[-1] <= at
                assert event.revision == revision
                assert event.start_sample <= latest.sample < event.speech_end_sample
                assert event.speech_end_sample <= event.start_sample + len(event.pcm) // 2
                begin = latest.sample // FRAME_SAMPLES
                assert event.voiced_ms == 20 * sum(voiced[number] for number in inside if number >= begin)
                assert event.voiced_ms >= vad.min_speech_ms
                assert voiced[event.speech_end_sample // FRAME_SAMPLES - 1]
            case Ended():
                assert event.revision == revision
            case Dropped():
                assert revision == 0
    everything = [number for part in utterances(events) for number in part]
    assert everything == sorted(set(everything)), "a frame is in two utterances"


@settings(deadline=None)
@given(VADS, RUNS)
def test_every_stretch_of_voice_is_in_an_utterance(vad: Vad, voiced: list[bool]) -> None:
    vad = msgspec.structs.replace(vad, min_speech_ms=0)
    parts = utterances(run(vad, voiced))
    inside = {number for part in parts for number in part}
    stretches = re.finditer("v{3,}", "".join("v" if decision else "." for decision in voiced))
    for stretch in stretches:
        lost = set(range(*stretch.span())) - inside
        # a split may leave two frames behind that are then no speech by themselves
        assert not lost or (len(lost) <= 2 and min(lost) - 1 in {part[-1] for part in parts})


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(5, 60), st.integers(1, 9)), min_size=1, max_size=15),
    LEVELS,
)
def test_splitting_loses_and_doubles_nothing(runs: list[tuple[int, int]], dice: Random) -> None:
    """Somebody who speaks on and on, with gaps shorter than a pause."""
    voiced = [decision for speech, gap in runs for decision in [True] * speech + [False] * gap]
    voiced += [True] * 5
    levels = [dice.randrange(2000) for _ in voiced]
    parts = utterances(run(Vad(max_utterance_s=2, min_speech_ms=0), voiced, levels))
    assert [number for part in parts for number in part] == list(range(len(voiced)))


@settings(deadline=None)
@given(VADS, RUNS, RUNS)
def test_a_faint_voice_makes_an_utterance_no_shorter_and_ends_it_no_later(
    vad: Vad, voiced: list[bool], faint: list[bool]
) -> None:
    # no splits: where one is depends on what the utterance before has left of its silence
    vad = msgspec.structs.replace(vad, max_utterance_s=60)
    sure, unsure = run(vad, voiced), run(vad, voiced, faint=faint)
    # announced later, a pause may turn out to be none, and then the revisions differ
    assert [(at, type(event)) for at, event in sure if isinstance(event, (Started, Ended, Dropped))] == [
        (at, type(event)) for at, event in unsure if isinstance(event, (Started, Ended, Dropped))
    ]
    before: set[int] = set()
    for short, long in zip(utterances(sure), utterances(unsure), strict=True):
        assert {*short} <= {*long} | before  # what went with the one before is no pre-roll of this one
        before = {*long}


@settings(deadline=None, max_examples=200)
@given(VADS, RUNS, RUNS, st.data())
def test_a_successor_that_starts_at_settled_goes_on_alike(
    vad: Vad, voiced: list[bool], unsure: list[bool], draw: st.DataObject
) -> None:
    faint = [number < len(unsure) and unsure[number] for number in range(len(voiced))]
    until = draw.draw(st.integers(0, len(voiced)))
    first = Endpointer(vad)
    before = 0
    for number in range(until):
        first.feed(frame(number), voiced[number], faint[number])
        assert before <= first.settled <= (number + 1) * FRAME_SAMPLES
        held = number + 1 - first.settled // FRAME_SAMPLES
        assert held <= 50 * vad.max_utterance_s, "holds too much"
        before = first.settled
    skipped = first.settled
    second = Endpointer(vad)
    for number in range(skipped // FRAME_SAMPLES, until):
        second.feed(frame(number), voiced[number], faint[number])
    for number in range(until, len(voiced)):
        fed = frame(number), voiced[number], faint[number]
        assert first.feed(*fed) == [later(event, skipped) for event in second.feed(*fed)]
        assert first.settled == second.settled + skipped
    assert first.end() == [later(event, skipped) for event in second.end()]


def later(event: Event, samples: int) -> Event:
    match event:
        case Started():
            return Started(event.sample + samples)
        case Paused():
            return Paused(
                event.pcm,
                event.voiced_ms,
                event.revision,
                event.speech_end_sample + samples,
                event.start_sample + samples,
            )
        case Ended():
            return Ended(event.revision, event.speech_end_sample + samples)
        case Resumed() | Dropped() | Glimpse():
            return event


# ---------------------------------------------------------------- speech that is known for such only later


@pytest.mark.parametrize(
    ("behind", "noisy", "begins"),
    [
        (4, 0, 64 - 15),  # who speaks on may have begun over it
        (5, 0, 60),
        (14, 0, 60),
        (16, 0, 61),
        (30, 30, 60),  # however far the noise reaches back
        (40, 25, 60),
        (50, 25, 60 + 10),
    ],
)
def test_no_utterance_reaches_back_to_the_assistants_own_sound(behind: int, noisy: int, begins: int) -> None:
    """It ends with frame 59; `noisy` frames before the voice may be some."""
    endpointer = Endpointer(DEFAULT)
    voice = 60 + behind
    (paused,) = (
        event
        for n in range(voice + 60)
        for event in endpointer.feed(
            frame(n),
            voice <= n < voice + 20,
            faint=voice - noisy <= n < voice,
            own=50 <= n < 60,
        )
        if isinstance(event, Paused)
    )
    assert numbers(paused.pcm)[0] == begins


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(0, 60), st.booleans())
def test_recalled_speech_begins_with_its_first_voiced_frame(
    late: list[bool], before: int, goes_on: bool
) -> None:
    """As if it had been known at once, whatever a window of the beginning would have said."""
    endpointer = Endpointer(DEFAULT, recalled=len(late))
    number = 0
    for number in range(before + len(late)):
        assert endpointer.feed(frame(number), False) == []
    events = endpointer.recall(late)
    if not any(late):
        assert events == []
        return
    first = before + late.index(True)
    assert events == [Started(first * FRAME_SAMPLES)]
    rest = flags("30v 60.") if goes_on else flags("60.")
    events = [event for n, voice in enumerate(rest, number + 1) for event in endpointer.feed(frame(n), voice)]
    whole = [event for event in events if isinstance(event, Paused)]
    if goes_on:
        assert whole[0].voiced_ms == 20 * (sum(late) + 30)
        assert numbers(whole[0].pcm)[0] == max(0, first - DEFAULT.pre_roll_ms // 20)


def test_nothing_is_recalled_into_an_utterance_that_goes_on() -> None:
    endpointer = Endpointer(DEFAULT, recalled=6)
    for number, voiced in enumerate(flags("10. 5v")):
        endpointer.feed(frame(number), voiced)
    assert endpointer.recall([True] * 6) == []
    assert Endpointer(DEFAULT, recalled=6).recall([True] * 6) == [], "there is no sound yet"
