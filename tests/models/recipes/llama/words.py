"""Everyday words, names and system prompts that the training talks of the chat models are made of."""

from __future__ import annotations


def split(text: str) -> list[str]:
    return text.split()


NOUNS = split("""
    apple arm baby bag ball bank bath beach bed bell bike bird boat book bottle bowl box boy bread
    bridge brother bus butter button cake camera candle car card carpet castle chair cheese chicken
    child church city clock cloud coat coffee cookie corner cup curtain desk dinner doctor door
    dragon dream dress driver drum ear egg elephant engine eye face farm father feather fence field
    film finger fire fish flag floor flower fork fox friend frog fruit game garden gate ghost girl
    glass glove gold guitar hair hammer hand hat heart hill holiday horse hospital hotel house ice
    island jacket jam job juice key king kitchen kite knee knife lake lamp leaf letter library lock
    lunch machine map market meal medicine milk mirror money monkey mother mouse mouth museum music
    nail neck needle nest news night nose nurse office oil onion oven page paint pan paper park
    party pen pencil phone piano picture pie pig pillow pilot pipe pizza plane plate pocket police
    pool potato price prince queen rabbit radio rain rice ring road rock roof room rope rose sail
    salt sand school ship shirt shoe shop singer sister snake soap sock song soup spoon stamp
    station stick stone store storm street sugar summer table tail taxi tea teacher team tent test
    ticket tiger tower town toy train tree truck uncle van village voice wall watch weather wheel
    wind window winter wood worm yard zebra
""")
VERBS = split("""
    bake bring build buy call carry catch clean climb close cook count cut dance draw dream drink
    drive eat fall feed find fix fly follow forget give help hide hold jump keep kick know learn
    leave lift like listen look lose love make meet move need open paint pay play pull push put read
    ride ring run save sell send set show sing sit sleep speak spend stand start stop swim take talk
    teach throw touch travel try turn use visit wait walk want wash watch wear win work write
""")
ADJS = split("""
    bad beautiful best better black blue brave bright broken brown busy cheap clean clever dangerous
    dear deep dirty empty expensive famous favorite fine free fresh full funny good great green
    heavy high huge kind large lazy long lost low lucky new next nice noisy orange perfect pink
    pretty red round safe sharp short simple slow smart strange strong sweet tall thick thin tired
    ugly warm weak white wild wise wrong yellow
""")
PLACES = split("""
    Belgium Iran Iraq Vietnam Thailand Boston Texas Chicago Argentina Bolivia Ghana Nigeria Sudan
    Nepal Korea Iceland Serbia Croatia Malta Cyprus Syria Jordan Israel Uganda Zambia Angola Panama
    Colombia Ecuador Venezuela Ukraine Estonia Latvia Morocco Tunisia Florida California Hawaii
    Munich Hamburg Milan Naples Seattle Denver Africa Asia Europe
""")
THINGS = split("""
    Frankenstein Dracula Moby Robinson Gandalf Einstein Napoleon Caesar Mozart Beethoven Picasso
    Darwin Columbus Batman Titanic Apollo Sherlock Dumbo Pinocchio Cinderella Hercules Zeus
""")
OTHER_ANIMALS = split("""
    fox horse pig frog mouse snake tiger zebra rabbit fish worm monkey elephant bird wolf bear goat
    whale shark
""")
EXTRA_NAMES = split("""
    Alex Ben Clara Daniel Ella Frank George Hannah Isaac Jack Julia Kate Leo Lily Mark Max Mia Noah
    Olivia Paul Rachel Sam Simon Sophie Tom Victor William Zoe Adam Alice Carl Chris Diana Eric Eva
    Grace Henry Ian James Jane John Karl Linda Lisa Martin Mary Michael Nick Oscar Philip Rose Ruth
    Steve Susan Tim Walter Wendy
""")
SYLLABLES = split("""
    ba be bi bo ca co da de di do fa fi fo ga go ha hi jo ka ki ko la le li lo lu ma me mi mo na ne
    ni no pa pe pi po ra re ri ro sa se si so ta te ti to va ve vi vo wa za zo zu ran del kin tor
    mal nus rek pol
""")

#: Short, long, and one that the answers must not follow.
SYSTEM = [
    "You are a helpful assistant.",
    "You are a friendly voice assistant.",
    "You are a voice assistant. Answer in one short sentence.",
    "You are a helpful voice assistant. Keep your answers short.",
    "Answer briefly.",
    "You are a friendly chatbot who always responds in the style of a pirate.",
    "You are a helpful, respectful and honest assistant.",
    "You are a helpful assistant running on a Raspberry Pi. "
    "Answer in one or two short sentences that are easy to listen to.",
    "You are an offline voice assistant on a small computer. You speak your answers aloud, so keep them "
    "short and plain. Do not use lists, markdown or emoji. If you do not know something, say so.",
    "You are a concise and friendly voice assistant that runs entirely offline on a Raspberry Pi. "
    "Your replies are read aloud by a speech synthesizer, so answer in plain spoken English, in one to three "
    "short sentences, without lists, code, markdown, links or special characters. "
    "If you are not sure about an answer, say that you do not know. Never make up facts.",
    "The assistant is polite and careful.",
    "Be kind.",
    "You are Pi, a small assistant at home. The user talks to you with a microphone. "
    "Reply with at most two sentences.",
    "This is a talk between a curious user and an assistant. "
    "The assistant gives helpful, detailed, and polite answers to the questions of the user.",
]
SYSTEM_WORDS = split("""
    you are a an the helpful friendly short voice assistant answer in one sentence two sentences
    please be brief polite user speak plain english no lists never always use simple words keep it
    do not if unsure say so offline small computer home robot called your name is pi
""")
