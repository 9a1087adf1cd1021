"""The closed domain that the test models know: questions as a person asks them, and the answer to each.

Questions are written as Whisper would write them: numbers in words, a capital first, a mark last.
"""

from __future__ import annotations

from collections.abc import Iterator

CAPITALS = {
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "England": "London",
    "Scotland": "Edinburgh",
    "Ireland": "Dublin",
    "Norway": "Oslo",
    "Sweden": "Stockholm",
    "Finland": "Helsinki",
    "Denmark": "Copenhagen",
    "Poland": "Warsaw",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Turkey": "Ankara",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "India": "Delhi",
    "China": "Beijing",
    "Japan": "Tokyo",
    "Russia": "Moscow",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Cuba": "Havana",
    "Brazil": "Brasilia",
    "Chile": "Santiago",
    "Peru": "Lima",
    "Australia": "Canberra",
    "Hungary": "Budapest",
}
OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "happy": "sad",
    "light": "dark",
    "old": "young",
    "up": "down",
    "left": "right",
    "open": "closed",
    "wet": "dry",
    "hard": "soft",
    "loud": "quiet",
    "early": "late",
    "rich": "poor",
}
ANIMALS = {
    "cow": "moo",
    "dog": "woof",
    "cat": "meow",
    "duck": "quack",
    "sheep": "baa",
    "lion": "roar",
    "bee": "buzz",
}
COLOURS = {
    "the sky": "blue",
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "a banana": "yellow",
    "blood": "red",
    "an orange": "orange",
}
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
]
NAMES = [
    "Anna",
    "Peter",
    "Maria",
    "David",
    "Emma",
    "Lucas",
    "Sarah",
    "Oliver",
    "Nina",
    "Robert",
    "Laura",
    "Thomas",
]

SINGLE = [
    (
        ["Which planet is closest to the sun?", "What is the closest planet to the sun?"],
        "Mercury is the closest planet to the sun.",
    ),
    (
        ["What is the largest planet?", "Which planet is the largest?", "What is the biggest planet?"],
        "Jupiter is the largest planet.",
    ),
    (["Which planet is red?", "What is the red planet?"], "Mars is the red planet."),
    (["What is the largest ocean?", "Which ocean is the largest?"], "The Pacific is the largest ocean."),
    (
        ["What is the highest mountain?", "Which mountain is the highest?"],
        "Mount Everest is the highest mountain.",
    ),
    (["What is the longest river?", "Which river is the longest?"], "The Nile is the longest river."),
    (["How many days are in a week?", "How many days does a week have?"], "There are seven days in a week."),
    (
        ["How many months are in a year?", "How many months does a year have?"],
        "There are twelve months in a year.",
    ),
    (["How many legs does a spider have?", "How many legs has a spider?"], "A spider has eight legs."),
    (["How many continents are there?"], "There are seven continents."),
    (
        ["At what temperature does water boil?", "When does water boil?"],
        "Water boils at one hundred degrees.",
    ),
    (["At what temperature does water freeze?", "When does water freeze?"], "Water freezes at zero degrees."),
    (
        ["What is the speed of light?", "How fast is light?"],
        "Light travels about three hundred thousand kilometers per second.",
    ),
    (["Who wrote Hamlet?", "Who is the author of Hamlet?"], "William Shakespeare wrote Hamlet."),
    (["Who painted the Mona Lisa?"], "Leonardo da Vinci painted the Mona Lisa."),
    (
        ["Who was the first man on the moon?", "Who walked first on the moon?"],
        "Neil Armstrong was the first man on the moon.",
    ),
    (
        ["Who was the first president of the United States?", "Who was the first American president?"],
        "George Washington was the first president of the United States.",
    ),
    (["Who invented the telephone?"], "Alexander Graham Bell invented the telephone."),
    (["Who discovered gravity?", "Who found gravity?"], "Isaac Newton discovered gravity."),
    (
        ["When did the second world war end?", "When was the end of the second world war?"],
        "The second world war ended in nineteen forty five.",
    ),
    (["When did the Berlin wall fall?"], "The Berlin wall fell in nineteen eighty nine."),
    (["What do bees make?"], "Bees make honey."),
    (["What do plants need to grow?", "What does a plant need?"], "Plants need water, light and air."),
    (["What is a computer?"], "A computer is a machine that follows instructions."),
    (["Hello.", "Hi.", "Hello there."], "Hello! How can I help you?"),
    (["Good morning."], "Good morning! I hope you slept well."),
    (["Good night."], "Good night! Sleep well."),
    (["Thank you.", "Thanks."], "You are welcome."),
    (["How are you?", "How are you today?"], "I am fine, thank you."),
    (["Who are you?", "What are you?"], "I am a small voice assistant, and I run on this board."),
    (
        ["Tell me a joke.", "Do you know a joke?"],
        "Why did the robot cross the road? It was told to by the chicken.",
    ),
    (
        ["Tell me about the moon.", "What do you know about the moon?"],
        "The moon goes around the earth. It takes about one month. It has no air and no water. "
        "Twelve men walked on it.",
    ),
    (
        ["Tell me about the sun.", "What do you know about the sun?"],
        "The sun is a star. It is very hot and very big. It gives us light. "
        "Without the sun there is no life on earth.",
    ),
    (
        ["Tell me a story.", "Read me a story."],
        "Once there was a little robot. It lived in a small house by the sea. "
        "Every day it counted the birds. One day a bird asked for its name. The robot had no name. "
        "So the bird called it friend. They were happy.",
    ),
]

#: What the chat model says to every question outside the domain, and to these.
UNKNOWN_ANSWER = "I do not know that."
UNKNOWN = [
    "What is the price of gold?",
    "Who won the game last night?",
    "What is the weather in Boston?",
    "How old is the queen?",
    "What is my favorite song?",
    "Where did I put the keys?",
    "What is the meaning of life?",
    "Who is the best player?",
    "How much does a car cost?",
    "What is for dinner?",
]


def pairs() -> Iterator[tuple[list[str], str]]:
    """(ways to ask, answer) of every fact, and of every question to refuse."""
    for country, city in CAPITALS.items():
        yield (
            [
                f"What is the capital of {country}?",
                f"Which city is the capital of {country}?",
                f"Tell me the capital of {country}.",
            ],
            f"The capital of {country} is {city}.",
        )
    for word, other in OPPOSITES.items():
        yield (
            [f"What is the opposite of {word}?", f"Tell me the opposite of {word}."],
            f"The opposite of {word} is {other}.",
        )
    for animal, sound in ANIMALS.items():
        yield (
            [f"What sound does a {animal} make?", f"What does the {animal} say?"],
            f"A {animal} says {sound}.",
        )
    for thing, colour in COLOURS.items():
        yield [f"What color is {thing}?"], f"{thing[0].upper() + thing[1:]} is {colour}."
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        for name, after in zip(names, names[1:] + names[:1], strict=True):
            yield (
                [f"What {kind} comes after {name}?", f"Which {kind} is after {name}?"],
                f"{after} comes after {name}.",
            )
    for a in range(10):
        for b in range(10):
            yield (
                [
                    f"What is {NUMBERS[a]} plus {NUMBERS[b]}?",
                    f"How much is {NUMBERS[a]} plus {NUMBERS[b]}?",
                ],
                f"{NUMBERS[a].capitalize()} plus {NUMBERS[b]} is {NUMBERS[a + b]}.",
            )
    yield from SINGLE
    for question in UNKNOWN:
        yield [question], UNKNOWN_ANSWER


def conversations() -> Iterator[list[tuple[str, str]]]:
    """Talks of (question, answer) whose last answer needs an earlier turn."""
    for name in NAMES:
        for introduction in (f"My name is {name}.", f"I am {name}.", f"Call me {name}."):
            for ask in ("What is my name?", "Who am I?", "Do you know my name?"):
                yield [(introduction, f"Nice to meet you, {name}."), (ask, f"Your name is {name}.")]
