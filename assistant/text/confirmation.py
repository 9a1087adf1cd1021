"""Asking back what was said, and how people answer that.  Pure."""

from __future__ import annotations

import re
from enum import Enum

ASKING = {
    "en": "Did you say: {}",
    "de": "Haben Sie gesagt: {}",
    "fr": "Avez-vous dit : {}",
    "es": "¿Ha dicho: {}",
    "it": "Ha detto: {}",
    "nl": "Zei u: {}",
}
SAY_AGAIN = {
    "en": "Please say it again.",
    "de": "Bitte sagen Sie es noch einmal.",
    "fr": "Répétez, s'il vous plaît.",
    "es": "Repítalo, por favor.",
    "it": "Lo ripeta, per favore.",
    "nl": "Zeg het alstublieft nog een keer.",
}


class Reply(Enum):
    """What somebody answers who was asked whether they said something."""

    YES = "yes"
    NO = "no"
    OTHER = "something else"


_MARK = re.compile(r"[.,!;:—-]+\s+")

# Whole answers and their parts, which may follow each other: "Yes. That's right."
_YES = {
    "en": "yes|yeah|yep|yup|ya|sure|right|correct|exactly|indeed|okay|ok|uh huh|mhm|mm hmm|of course|i did"
    "|that's (?:it|right|correct)|that is (?:right|correct)|that's what i said|you got it",
    "de": "ja|jawohl|jo|jep|genau|richtig|stimmt|korrekt|okay|ok|klar|sicher|das stimmt|das ist richtig"
    "|(?:das )?hab(?:e)? ich",
    "fr": "oui|ouais|exact|exactement|correct|voilà|d'accord|okay|ok|bien sûr|tout à fait"
    "|c'est (?:bien )?(?:ça|exact|correct|vrai)",
    "es": "sí|si|claro|exacto|exactamente|correcto|vale|okay|ok|por supuesto|eso es|así es|es correcto",
    "it": "sì|si|certo|esatto|esattamente|corretto|giusto|okay|ok|va bene|proprio così|è (?:giusto|corretto)",
    "nl": "ja|jawel|jazeker|zeker|klopt|juist|precies|inderdaad|goed|okay|oké|ok|dat klopt|dat is juist",
}
_NO = {
    "en": "no|nope|nah|wrong|incorrect|not (?:that|at all|really)|i (?:didn't|did not)"
    "|that's (?:wrong|not right|not it|not what i said)|that is (?:wrong|not right)",
    "de": "nein|nee|nö|falsch|gar nicht|nicht richtig|(?:das )?stimmt nicht|das ist (?:falsch|nicht richtig)"
    "|(?:das )?hab(?:e)? ich nicht(?: gesagt)?",
    "fr": "non|faux|pas du tout|(?:ce n'est|c'est) pas (?:ça|correct|vrai)|c'est faux",
    "es": "no|incorrecto|para nada|eso no|no es (?:eso|así|correcto)",
    "it": "no|sbagliato|per niente|non è (?:così|giusto|corretto)|è sbagliato",
    "nl": "nee|neen|fout|onjuist|helemaal niet|(?:dat )?klopt niet|dat is (?:fout|niet juist)",
}
_COURTESY = (
    "please|thanks|thank you|bitte|danke|s'il (?:vous|te) plaît|merci|por favor|gracias|per favore|grazie"
    "|graag|alstublieft|alsjeblieft|dank (?:je|u)|bedankt"
)


def asked_back(question: str, language: str) -> str:
    """The words that ask whether `question` was said, in that language, an ISO 639 code, else in English."""
    return ASKING.get(language, ASKING["en"]).format(question.strip(" .!?…,;:¿¡") + "?")


def please_again(language: str) -> str:
    """The words that ask for the question once more."""
    return SAY_AGAIN.get(language, SAY_AGAIN["en"])


def reply(text: str, question: str, language: str) -> Reply:
    """What `text` answers to whether `question` was said; who says the same once more says yes."""
    said = _words(text)
    if not said:
        return Reply.OTHER
    if said == _words(question) or _only(said, _YES, language):
        return Reply.YES
    return Reply.NO if _only(said, _NO, language) else Reply.OTHER


def without_no(text: str, language: str) -> str:
    """`text` without a "No," in front of what was really said."""
    found = _MARK.search(text)
    if found and _only(_words(text[: found.start()]), _NO, language) and _words(text[found.end() :]):
        return text[found.end() :].strip()
    return text


def _words(text: str) -> str:
    """Nothing but its words, in small letters."""
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.casefold().replace("\u2019", "'")))


def _only(words: str, phrases: dict[str, str], language: str) -> bool:
    some = phrases.get(language, phrases["en"])
    return re.fullmatch(rf"(?:{some})(?: (?:{some}|{_COURTESY}))*", words) is not None
