"""What `assistant doctor --sound` makes of what it measured: the words of the table, and one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import msgspec

from assistant.audio.chirp import Figures
from assistant.audio.devices import Kind
from assistant.audio.level import DEAD_DBFS, FULL_SCALE, HUM_DBFS, HUM_SHARE, OFFSET_DBFS, TROUBLES, dbfs
from assistant.cli.doctor.check import Check, State, plain

CLIPPED_SHARE = 0.001
"""Of the samples.  Single ones are not heard; from about here on the recogniser hears crackles.  Not as in
`audio.level`, where three seconds of a minute have to clip: there are hardly three here."""
QUIET_DBFS = -60.0
"""An echo this soft has 32 steps of 16 bits, and a person some metres away has hardly more.  In
`audio.level`, QUIET_DBFS is of speech itself, behind the gain."""
NOISY_SNR_DB = 10.0
"""The test models were taught with noise 10 to 30 dB below speech, and read it without loss."""
NOISE_DBFS = -36.0
"""The same 10 dB below speech at its nominal level, -26 dB (ITU-T P.501)."""
LOST_MS = 100.0
"""A syllable."""
LATE_MS = 300.0
"""How long half duplex stays deaf after an answer, and what echo cancelling is measured with at most."""
LOUD_ECHO_DB = 10.0
"""Interruptions are measured with echoes that are at least so much softer than what is played."""
UNDERSTOOD_SHARE = 0.8
"""Of the words: one of six may be wrong."""

ALSAMIXER = "alsamixer, F4"


class Facts(msgspec.Struct, frozen=True):
    """What was measured.

    `words` were said and `recognised` understood; `skipped` says why that was not tried, or is empty.
    """

    figures: Figures
    lost_ms: float
    words: str
    recognised: str
    skipped: str
    barge_in: str


def understood(facts: Facts) -> tuple[int, int]:
    """How many words were recognised, in their order, of how many."""
    said, heard = (re.findall(r"\w+", text.casefold()) for text in (facts.words, facts.recognised))
    matches = difflib.SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    return sum(match.size for match in matches), len(said)


def rows(facts: Facts) -> list[tuple[str, str]]:
    """The table: what was measured, in words."""
    figures, echo = facts.figures, facts.figures.echo
    clipped = f"{figures.clipped_share:.1%} of the samples clip" if figures.clipped_share else "nothing clips"
    hum = ", mostly mains hum" if _hums(figures) else ""
    right, of = understood(facts)
    softer = f"{abs(echo.loss_db):.0f} dB {'softer' if echo.loss_db >= 0 else 'louder'}" if echo else ""
    return [
        ("noise floor", f"{figures.noise_dbfs:.0f} dBFS{hum}"),
        ("peak", f"{figures.peak_dbfs:.0f} dBFS, {clipped}; constant part {abs(figures.dc_share):.1%}"),
        ("lost sound", f"{facts.lost_ms:.0f} ms"),
        ("echo", f"after {echo.delay_ms:.0f} ms, {softer} than played" if echo else "not heard"),
        ("level", f"{echo.level_dbfs:.0f} dBFS, {echo.snr_db:.0f} dB above the noise" if echo else "none"),
        (
            "words",
            f"not tested: {facts.skipped}" if facts.skipped else f'{right} of {of}: "{facts.recognised}"',
        ),
    ]


def verdict(facts: Facts) -> Check:
    """The one thing to change first: what is worst, and what most of the rest may come from."""
    figures, echo = facts.figures, facts.figures.echo

    def found(state: State, what: str, mend: str) -> Check:
        return plain("sound", state, what, mend)

    if echo is None and figures.peak_dbfs < DEAD_DBFS:
        return found("fault", "The microphone gives no sound at all, not even noise", TROUBLES["silent"][1])
    if echo is None:
        mend = (
            "turn the speaker on and up, see that both devices are the right ones (`assistant devices`), and "
            "bring them nearer to each other (one that cancels its own echo hears none, and is well)"
        )
        return found("fault", "The chirp was not heard", mend)
    if figures.clipped_share > CLIPPED_SHARE:
        mend = f"lower its gain ({ALSAMIXER}), or move it away from the speaker"
        return found("warning", "The microphone is too loud and distorts", mend)
    if echo.level_dbfs < QUIET_DBFS:
        mend = f"raise its gain ({ALSAMIXER}), turn the speaker up, or bring them nearer to each other"
        return found("warning", "The microphone hears the speaker only faintly", mend)
    if _hums(figures):
        mend = "use another power supply or USB port, and keep its cable away from mains cables"
        return found("warning", "The microphone hums with the mains", mend)
    if echo.snr_db < NOISY_SNR_DB or figures.noise_dbfs > NOISE_DBFS:
        mend = (
            "move the microphone away from what makes noise (a fan, the board itself), and nearer to people"
        )
        return found("warning", "There is too much noise", mend)
    if dbfs(abs(figures.dc_share) * FULL_SCALE) >= OFFSET_DBFS:
        mend = "plug it into another port, or use another microphone"
        return found("warning", "The microphone's signal is shifted by a constant voltage", mend)
    if facts.lost_ms > LOST_MS:
        mend = "plug the microphone into another port, without a hub, and see what else keeps the board busy"
        return found("warning", f"Sound is lost ({facts.lost_ms:.0f} ms)", mend)
    if echo.loss_db < LOUD_ECHO_DB and facts.barge_in != "off":
        mend = (
            'turn the speaker down, move the microphone away from it, or set [audio] barge_in = "off" in '
            "config.toml"
        )
        return found("warning", f"The echo is too loud for interrupting by {facts.barge_in}", mend)
    if echo.delay_ms > LATE_MS:
        mend = "use a speaker with a cable instead of Bluetooth, or one of the same sound card"
        return found(
            "warning", f"The echo comes so late ({echo.delay_ms:.0f} ms) that it passes for speech", mend
        )
    right, of = understood(facts)
    if not facts.skipped and right < UNDERSTOOD_SHARE * of:
        what = f"Of {of} words, {right or 'none'} {'was' if right < 2 else 'were'} understood"
        mend = (
            "see that voice and stt.language are of one language, or take a larger recogniser "
            "(`assistant models`)"
        )
        return found("warning" if right else "fault", what, mend)
    all_well = "The assistant hears what it plays"
    return found("ok", all_well if facts.skipped else f"{all_well}, and understands it", "")


def _hums(figures: Figures) -> bool:
    """As `audio.level` judges; but what nobody speaks in, the quiet before the chirp, tells in a second."""
    return figures.hum_share > HUM_SHARE and figures.noise_dbfs > HUM_DBFS


def sentence_of(found: Check) -> str:
    return f"{found.what}: {found.mend}." if found.mend else f"{found.what}."


def as_tree(facts: Facts, found: Check, used: Mapping[Kind, str]) -> dict[str, object]:
    """What programs are given."""
    right, of = understood(facts)
    return {
        **used,
        **msgspec.to_builtins(facts.figures),
        "lost_ms": facts.lost_ms,
        "words": {
            "said": facts.words,
            "recognised": facts.recognised,
            "right": right,
            "of": of,
            "skipped": facts.skipped,
        },
        "verdict": {"state": found.state, "what": found.what, "mend": found.mend},
    }
