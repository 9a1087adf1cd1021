"""What Whisper writes over silence and noise: how the videos end that it learnt from.  Pure.

Gathered from openai/whisper discussion 928 and Barański et al., "Investigation of Whisper ASR hallucinations
induced by non-speech audio" (2025).  Not by language: Whisper mixes them where nobody speaks.
"""

# ruff: noqa: RUF001 - the letters and marks of other scripts look like ours, and are meant

from __future__ import annotations

import re
from enum import IntEnum


class Stock(IntEnum):
    """How sure it is that nobody said a phrase, in half signs (`whisper_judgement.invented`)."""

    NONE = 0
    COURTESY = 2
    """People say it, too."""
    OUTRO = 3
    """What people say to those who watch, and hardly to an assistant."""
    CREDIT = 4
    """Who made the subtitles: nobody says that."""


_COURTESIES = (
    r"you|the|so|oh|ah|uh|um|huh|hmm+|okay|ok|bye|bye bye|goodbye|good night|see you( later)?|i'm sorry"
    r"|(thank you|thanks)( very much| so much| a lot| everyone| all)?|the end|amen"
    # de, nl
    r"|(vielen |herzlichen )?dank|danke( schön| sehr)?|tschüss|auf wiedersehen|bis (bald|dann)"
    r"|bedankt|dank (je|u)( wel)?|tot ziens|doei"
    # fr, es, it, pt
    r"|merci( beaucoup| à tous)?|au revoir|à bientôt|(muchas )?gracias|adiós|chao|hasta luego"
    r"|grazie( mille| a tutti)?|ciao|arrivederci|(muito )?obrigad[oa]|tchau|até logo"
    # pl, cs, ru, tr, sv
    r"|dzięk(uję|uje|i)( bardzo)?|do widzenia|děkuji|спасибо|teşekkürler|tack( så mycket)?"
    # ja, ko, zh
    r"|ありがとうございま(した|す)|おやすみなさい|감사합니다|谢谢(大家)?|謝謝(大家)?"
)

_OUTROS = (
    r"(thank you|thanks)( (very|so) much)? for (watching|listening|your (time|attention|watching)).*"
    r"|((i'll|we'll|i will|and) )*see you ((all )?(in the )?next (time|video|one|week)|again).*"
    r"|(please |and |don't forget to )*((like|share|comment),? (and )?)*subscribe\b.*"
    # de, nl
    r"|(vielen |herzlichen )?danke? (fürs|für (das|die|ihre|eure)) (zuschauen|zuhören|ansehen|aufmerksamkeit)"
    r"|bis zum nächsten (mal|video)|abonnier(t|en|e)\b.*kanal.*|tot de volgende (keer|video)"
    r"|(bedankt|dank (je|u)( wel)?) voor (het|uw|je) (kijken|luisteren|aandacht)"
    # fr, es, it, pt
    r"|merci (d'avoir|de m'avoir|pour) (regardé|écouté|suivi|visionné|votre attention).*"
    r"|(n'hésitez pas à vous |n'oubliez pas de vous )?abonne[rz](-vous)?\b.*"
    r"|(muchas )?gracias por (ver|mirar|su atención|escuchar).*|(no olvides )?suscr[ií]be(te|rte)\b.*"
    r"|hasta la próxima|nos vemos en el próximo video"
    r"|grazie (per (aver(e|ci)? )?(guardato|seguito|la visione|l'attenzione)).*|iscriviti\b.*|alla prossima"
    r"|(muito )?obrigad[oa] por (assistir|ver|sua atenção).*|inscreva-se\b.*|até a próxima"
    # pl, ru, tr
    r"|dzięk(uję|uje|i) za (uwagę|oglądanie|obejrzenie).*|do zobaczenia.*|(zapraszamy? do )?subskry(b|pcj).*"
    r"|спасибо за просмотр|продолжение следует|подпи(сы|ши)\w+ на канал"
    r"|i̇?zlediğiniz için teşekkür.*|.*abone olmayı unutmayın.*"
    # ja, ko, zh
    r"|.*ご視聴.*ありがとうございま(した|す)|.*チャンネル登録.*"
    r"|.*시청해\s?주셔서 감사합니다.*|.*구독.*좋아요.*"
    r"|(感谢|感謝|谢谢|謝謝)(您的)?(观看|觀看|收看).*|.*点赞.*订阅.*"
)

_CREDITS = (
    r".*\bamara\.org\b.*|.*\bsoustitreur\.com\b.*|.*\b(zeoranger|mooji)\b.*|.*\bqtss\b.*|.*\bcastingwords\b.*"
    r"|(subtitles?|subtitled|captions?|captioning|transcription|transcribed|translated|subs) by\b.*"
    r"|unter(titel|titelung) (im auftrag|der|von|aufgrund)\b.*|(copyright )?(wdr|swr|zdf|ndr) \d{4}"
    r"|sous-titr(es?|age)( (réalisés?|faits?|st|par|société|fr)\b.*|)"
    r"|subt[ií]tul(os?|ado) (por|realizados?|de)\b.*"
    r"|sottotitoli (creati|e revisione|a cura|di)\b.*|legendas? (pela|por|feitas?)\b.*|legendado por\b.*"
    r"|ondertitel(s|d|ing) (ingediend |in opdracht )?(door|van)\b.*|napisy (stworzone|wykonane|robione)\b.*"
    r"|субтитры (сделал|создавал|подогнал)\b.*|редактор субтитров.*|altyazı m\.?k\.?"
    r"|.*字幕(志愿者|由|提供|制作).*"
)

_KINDS = [
    (Stock.CREDIT, re.compile(_CREDITS)),
    (Stock.OUTRO, re.compile(_OUTROS)),
    (Stock.COURTESY, re.compile(_COURTESIES)),
]
_WATCHED = re.compile(
    r"for (watching|listening)|zuschauen|zuhören|regardé|visionné|por (ver|mirar|assistir)|guardato|visione"
    r"|kijken|oglądanie|просмотр|izlediğiniz|ご視聴|시청|观看|觀看|收看",
    re.IGNORECASE,
)
"""What is thanked for in them: of outros, these alone are never the end of what somebody dictates."""
_PHRASE_END = re.compile(r"(?<=[.!?…,;])\s+|(?<=[。！？])")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")
_NO_WORDS = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|[♪♫🎵]")
"""What a sound is, as subtitles tell it: "[Music]", "(laughs)", "*sighs*"."""


def spoken(text: str) -> str:
    """`text` without the descriptions of sounds in it, and without subtitles' lines behind what was said."""
    text = _NO_WORDS.sub("", text).strip()
    ends = [found.start() for found in _SENTENCE_END.finditer(text) if found.end() < len(text)]
    for end in reversed(ends):
        kind = _kind(text[end:])
        if kind < Stock.CREDIT and not (kind is Stock.OUTRO and _WATCHED.search(text[end:])):
            break
        text = text[:end]
    return text


def stock(text: str) -> tuple[Stock, int]:
    """Whether `text` is stock phrases and nothing else, and how many of the likeliest kind."""
    kinds: list[Stock] = []
    for sentence in _SENTENCE_END.split(text.strip()):
        whole = _kind(sentence)
        parts = [sentence] if whole else _PHRASE_END.split(sentence)
        kinds += [_kind(part) for part in parts if any(map(str.isalnum, part))]
    if not kinds or Stock.NONE in kinds:
        return Stock.NONE, 0
    return max(kinds), len(kinds)


def _kind(phrase: str) -> Stock:
    """What kind of phrase it is; a question is none of those that nobody says."""
    plain = " ".join(phrase.lower().replace("\u2019", "'").strip(' \t\n.!?…,;:"“”«»¡¿。！？-–—♥❤️').split())
    found = next((kind for kind, pattern in _KINDS if pattern.fullmatch(plain)), Stock.NONE)
    is_question = phrase.rstrip().endswith(("?", "？"))
    return Stock.NONE if is_question and found > Stock.COURTESY else found
