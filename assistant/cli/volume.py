"""`assistant volume`: how loud the running assistant is."""

from __future__ import annotations

import argparse

HELP = "show how loud the running assistant is, or make it louder or softer"
STEP = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "volume",
        nargs="?",
        type=_volume,
        metavar="PERCENT|up|down",
        help=f"0 is silent, 100 full, and half of it sounds half as loud; up and down are steps of {STEP}",
    )
    parser.add_argument("--earcons", action="store_true", help="of earcons, instead of answers")


def run(words: argparse.Namespace) -> int:
    from assistant.cli.status import reply, settings
    from assistant.messages import SetVolume, Volume

    config = settings(words.config)
    now = reply(config, SetVolume(), Volume)
    if words.volume is not None:
        wanted = percent(words.volume, now.earcons if words.earcons else now.answers) / 100
        change = SetVolume(earcons=wanted) if words.earcons else SetVolume(answers=wanted)
        now = reply(config, change, Volume)
    print(f"answers {now.answers:.0%}, earcons {now.earcons:.0%}")
    return 0


def percent(wanted: int | str, now: float) -> int:
    """What `wanted` (a percentage, "up" or "down") makes of a volume from 0 to 1, in percent."""
    if isinstance(wanted, int):
        return wanted
    step = STEP if wanted == "up" else -STEP
    return min(100, max(0, round(100 * now) + step))


def _volume(text: str) -> int | str:
    number = text.removesuffix("%")
    if text in ("up", "down"):
        return text
    if number.isascii() and number.isdecimal() and len(number) <= 3 and int(number) <= 100:
        return int(number)
    raise argparse.ArgumentTypeError('a volume is a whole number from 0 to 100, "up" or "down"')
