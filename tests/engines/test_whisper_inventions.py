"""Which phrases Whisper makes up, and which a person says."""

# ruff: noqa: RUF001 - the letters and marks of other scripts look like ours, and are meant

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.engines.whisper_inventions import Stock, spoken, stock

COURTESIES = """
Thank you. | Thanks. | Thank you so much! | you | Bye. | Bye bye. | Okay. | So | The | Hmm.
Vielen Dank. | Danke schön. | Tschüss. | Merci. | Merci beaucoup. | Au revoir. | ¡Gracias!
Muchas gracias. | Grazie. | Grazie mille. | Ciao. | Obrigado. | Muito obrigada. | Tchau. | Bedankt.
Dank u wel. | Dziękuję. | Dziękuje bardzo. | Спасибо. | Teşekkürler. | 감사합니다. | 谢谢大家
"""
OUTROS = """
Thanks for watching! | Thank you for watching. | Thank you very much for watching.
Please subscribe to my channel. | Like and subscribe! | Don't forget to like, share and subscribe.
I'll see you in the next video. | See you next time. | Vielen Dank fürs Zuschauen.
Danke fürs Zuschauen! | Vielen Dank für Ihre Aufmerksamkeit. | Bis zum nächsten Mal.
Merci d’avoir regardé cette vidéo ! | Abonnez-vous ! | N'hésitez pas à vous abonner.
Gracias por ver el vídeo. | ¡Suscríbete al canal! | Hasta la próxima.
Grazie per aver guardato il video. | Grazie per la visione. | Alla prossima! | Obrigado por assistir.
Inscreva-se no canal. | Até a próxima! | Bedankt voor het kijken. | Tot de volgende keer.
Dziękuję za uwagę. | Dziękuję za oglądanie. | Do zobaczenia w następnym odcinku.
Zapraszam do subskrypcji. | Продолжение следует... | İzlediğiniz için teşekkür ederim.
Abone olmayı unutmayın. | ご視聴ありがとうございました | 感谢观看 | 시청해주셔서 감사합니다.
"""
CREDITS = """
Subtitles by the Amara.org community | Subs by www.zeoranger.co.uk | Transcription by CastingWords
www.mooji.org | Untertitel der Amara.org-Community | Untertitelung im Auftrag des ZDF für funk, 2017
Copyright WDR 2021 | SWR 2020 | Untertitel von Stephanie Geiges
Sous-titres réalisés par la communauté d'Amara.org | Sous-titrage ST’ 501
Sous-titrage Société Radio-Canada | ❤️ par SousTitreur.com
Subtítulos realizados por la comunidad de Amara.org | Sottotitoli creati dalla comunità Amara.org
Sottotitoli e revisione a cura di QTSS | Legendas pela comunidade Amara.org
Ondertitels ingediend door de Amara.org gemeenschap | Napisy stworzone przez społeczność Amara.org
Altyazı M.K. | Субтитры сделал DimaTorzok | 字幕由Amara.org社区提供
"""
SAID = """
What time is it? | Stop. | Yes. | No. | Louder. | Thank you for the music is a song by whom?
Who won the game last night? | Thanks for that, now tell me a joke. | Like what? | Share my location.
Say goodbye in French. | What is Amara.org? | Comment ça va ? | Comment t'appelles-tu ?
Wie sagt man danke auf Spanisch? | Dank wem ist das so? | Was heißt Untertitel?
Merci de me donner l'heure. | Gracias a ti sé la hora. | See if it rains tomorrow. | Subscribe?
Schalte die Untertitel ein. | Subtitles on. | Bis morgen um acht. | Ciao significa cosa?
Turn off the subtitles by the sofa.
"""


def cases(*tables: tuple[str, Stock]) -> list[tuple[str, Stock]]:
    return [
        (text.strip(), kind)
        for table, kind in tables
        for line in table.splitlines()
        for text in line.split("|")
        if text
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    cases((COURTESIES, Stock.COURTESY), (OUTROS, Stock.OUTRO), (CREDITS, Stock.CREDIT), (SAID, Stock.NONE)),
)
def test_kinds(text: str, kind: Stock) -> None:
    assert stock(f" {text}")[0] is kind


@pytest.mark.parametrize(
    ("text", "kind", "times"),
    [
        ("Thank you. Thank you.", Stock.COURTESY, 2),
        ("Thank you, bye.", Stock.COURTESY, 2),
        ("Thank you. Thanks for watching!", Stock.OUTRO, 2),
        ("Thank you, thank you, thank you.", Stock.COURTESY, 3),
        ("Thank you. What time is it?", Stock.NONE, 0),
        ("Thanks for watching my dog. Tell me a joke.", Stock.NONE, 0),
        ("", Stock.NONE, 0),
        ("...", Stock.NONE, 0),
    ],
)
def test_several_of_them(text: str, kind: Stock, times: int) -> None:
    assert stock(text) == (kind, times)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" What time is it?", "What time is it?"),
        (" What time is it? Thanks for watching!", "What time is it?"),
        (" What time is it? Thank you. Subtitles by the Amara.org community", "What time is it? Thank you."),
        (" Wie spät ist es? Untertitel im Auftrag des ZDF, 2017", "Wie spät ist es?"),
        (
            " Hello. Thanks for watching my dog. Tell me a joke.",
            "Hello. Thanks for watching my dog. Tell me a joke.",
        ),
        (" Write to Bob. See you next week.", "Write to Bob. See you next week."),
        (" I like news. Subscribe me to the weather.", "I like news. Subscribe me to the weather."),
        (" What time is it? Thank you.", "What time is it? Thank you."),
        (" Thanks for watching!", "Thanks for watching!"),
        (" [Music] What time (laughs) is it? ♪", "What time is it?"),
        ("今何時ですか。ご視聴ありがとうございました。", "今何時ですか。"),
        ("今日は。何時ですか。", "今日は。何時ですか。"),
    ],
)
def test_what_was_spoken(text: str, words: str) -> None:
    assert " ".join(spoken(text).split()) == words


@given(st.text(max_size=80))
def test_nothing_is_added(text: str) -> None:
    assert spoken(spoken(text)) == spoken(text)
    assert len(spoken(text)) <= len(text)
