"""What `assistant doctor --sound` concludes, and when it does not even begin."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from command_line import assistant, daemon, said, toml

from assistant.audio.chirp import Echo, Figures
from assistant.cli.doctor.hearing import Facts, as_tree, rows, sentence_of, understood, verdict

SAID = "The capital of Germany is Berlin."
ECHO = Echo(delay_ms=85.0, level_dbfs=-34.0, loss_db=19.0, snr_db=31.0)
FIGURES = Figures(-65.0, 0.1, 0.001, -12.0, 0.0, ECHO)
WELL = Facts(FIGURES, 0.0, SAID, SAID, "", "off")


def but(**changes: object) -> Facts:
    """All is well, but for these figures."""
    echo = {key: changes.pop(key) for key in list(changes) if hasattr(ECHO, key)}
    figures = {key: changes.pop(key) for key in list(changes) if hasattr(FIGURES, key)}
    replace = msgspec.structs.replace
    changed = replace(FIGURES, **{"echo": replace(ECHO, **echo), **figures})
    return replace(WELL, figures=changed, **changes)


@pytest.mark.parametrize(
    ("facts", "state", "what", "mend"),
    [
        (WELL, "ok", "hears what it plays, and understands it", ""),
        (but(skipped="there is no voice", recognised=""), "ok", "The assistant hears what it plays", ""),
        (but(echo=None, noise_dbfs=-100.0, peak_dbfs=-90.0), "fault", "no sound at all", "unmute it"),
        (but(echo=None), "fault", "chirp was not heard", "turn the speaker on"),
        (but(echo=None, noise_dbfs=-20.0), "fault", "chirp was not heard", "turn the speaker on"),
        (but(clipped_share=0.02), "warning", "distorts", "lower its gain"),
        (but(clipped_share=0.000_5), "ok", "", ""),
        (but(level_dbfs=-61.0), "warning", "faintly", "raise its gain"),
        (but(hum_share=0.8, noise_dbfs=-50.0), "warning", "hums", "power supply"),
        (but(hum_share=0.8, noise_dbfs=-70.0), "ok", "", ""),
        (but(snr_db=9.0), "warning", "too much noise", "move the microphone"),
        (but(noise_dbfs=-30.0), "warning", "too much noise", "move the microphone"),
        (but(dc_share=-0.05), "warning", "constant voltage", "another"),
        (but(lost_ms=140.0), "warning", "lost (140 ms)", "another port"),
        (but(loss_db=5.0, barge_in="voice"), "warning", "loud for interrupting by voice", 'barge_in = "off"'),
        (but(loss_db=0.0, barge_in="word"), "warning", "loud for interrupting by word", "turn the"),
        (but(loss_db=0.0), "ok", "", ""),
        (but(loss_db=11.0, barge_in="word"), "ok", "", ""),
        (
            but(loss_db=-3.0, barge_in="voice"),
            "warning",
            "too loud for interrupting",
            "turn the speaker down",
        ),
        (but(delay_ms=350.0), "warning", "so late (350 ms)", "cable"),
        (but(recognised="The capital of Germany."), "warning", "Of 6 words, 4 were", "larger recogniser"),
        (but(recognised="Yes. Berlin!"), "warning", "Of 6 words, 1 was", "larger recogniser"),
        (but(recognised=""), "fault", "Of 6 words, none was", "larger recogniser"),
        (but(recognised="the capital of germany is boston"), "ok", "", ""),
        # What is worst goes first, as the rest may come from it.
        (but(clipped_share=0.1, snr_db=3.0, recognised=""), "warning", "distorts", ""),
        (but(level_dbfs=-70.0, snr_db=3.0, recognised=""), "warning", "faintly", ""),
        (but(hum_share=0.9, noise_dbfs=-30.0, snr_db=3.0), "warning", "hums", ""),
        (but(snr_db=3.0, dc_share=0.1, recognised=""), "warning", "too much noise", ""),
        (but(loss_db=1.0, delay_ms=400.0, barge_in="voice"), "warning", "too loud for interrupting", ""),
        (but(delay_ms=400.0, recognised=""), "warning", "so late", ""),
    ],
)
def test_one_sentence(facts: Facts, state: str, what: str, mend: str) -> None:
    found = verdict(facts)
    assert (found.state, bool(found.mend)) == (state, state != "ok")
    assert what in found.what
    assert mend in found.mend
    sentence = sentence_of(found)
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert ". " not in sentence
    for _, row in rows(facts):
        assert row
        assert "\n" not in row


@pytest.mark.parametrize(
    ("words", "recognised", "right", "of"),
    [
        (SAID, "the capital of germany, is berlin", 6, 6),
        (SAID, "Berlin is the capital of Germany.", 4, 6),  # in their order
        (SAID, "", 0, 6),
        ("La capitale de l'Allemagne est Berlin.", "La capitale de l’Allemagne est Berlin", 7, 7),  # noqa: RUF001 - typeset
        ("", "Hello.", 0, 0),
    ],
)
def test_words_that_were_understood(words: str, recognised: str, right: int, of: int) -> None:
    assert understood(msgspec.structs.replace(WELL, words=words, recognised=recognised)) == (right, of)


def test_what_is_shown() -> None:
    assert dict(rows(WELL)) == {
        "noise floor": "-65 dBFS",
        "peak": "-12 dBFS, nothing clips; constant part 0.1%",
        "lost sound": "0 ms",
        "echo": "after 85 ms, 19 dB softer than played",
        "level": "-34 dBFS, 31 dB above the noise",
        "words": f'6 of 6: "{SAID}"',
    }
    worse = dict(
        rows(but(hum_share=0.9, noise_dbfs=-40.0, clipped_share=0.25, loss_db=-3.0, skipped="no voice"))
    )
    assert worse["noise floor"] == "-40 dBFS, mostly mains hum"
    assert worse["peak"].startswith("-12 dBFS, 25.0% of the samples clip")
    assert worse["echo"] == "after 85 ms, 3 dB louder than played"
    assert worse["words"] == "not tested: no voice"
    assert dict(rows(but(echo=None)))["echo"] == "not heard"


def test_what_programs_are_given() -> None:
    tree = as_tree(WELL, verdict(WELL), {"microphone": "one", "speaker": "other"})
    assert tree["echo"] == {"delay_ms": 85.0, "level_dbfs": -34.0, "loss_db": 19.0, "snr_db": 31.0}
    assert tree["words"] == {"said": SAID, "recognised": SAID, "right": 6, "of": 6, "skipped": ""}
    assert (tree["microphone"], tree["noise_dbfs"]) == ("one", -65.0)
    silent = as_tree(but(echo=None), verdict(but(echo=None)), {})
    assert silent["echo"] is None
    assert silent["verdict"]["state"] == "fault"  # type: ignore[index] # a tree of JSON


def test_not_while_an_assistant_listens(tmp_path: Path) -> None:
    with daemon(tmp_path, "--workers", "none") as (config, _):
        sentence = said(assistant("doctor", "--sound", config=config))
    assert sentence.startswith("The assistant runs: it uses the microphone, and would answer the test; ")
    assert "run this again" in sentence


def test_without_a_microphone(tmp_path: Path) -> None:
    config = toml(tmp_path, f'[daemon]\nsocket = "{tmp_path / "none.sock"}"\n[audio]\nmicrophone = "none"\n')
    assert "microphone" in said(assistant("doctor", "--sound", config=config))


@pytest.mark.parametrize("option", [["--full"], ["--bundle", "x.tar.gz"]])
def test_it_goes_alone(option: list[str]) -> None:
    assert said(assistant("doctor", "--sound", *option), exit_code=2).startswith("--sound goes without")
