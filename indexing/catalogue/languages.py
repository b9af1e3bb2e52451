"""A guess at the language of a text: by its script, and by small words where several languages share one.

It is meant for counting what a catalogue holds, not for judging one text: titles are often too short to tell.
"""

import re
from collections import Counter

MAX_CHARACTERS = 1000  # characters
UNKNOWN = "unknown"
# Kana before Han, since Japanese is written in both.
SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\u1100-\u11ff\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
)
UKRAINIAN = re.compile(r"[іїєґІЇЄҐ]")
WORD = re.compile(r"[^\W\d_]+")
SMALL_WORDS = {
    "en": "the a of and to in is with for that on are this from by at an it as be or was has its your all",
    "de": "der die das und ist mit für von den dem ein eine einer einem auf im zu nicht aus bei zum zur auch als wie",
    "fr": "le la les des et est une un du de dans pour avec sur au aux en que qui par plus ce cette sont ses",
    "es": "el la a los las de del y es una un en con para por que se al más su como este esta lo sin son",
    "it": "il lo la a gli le di del della e è un una in con per che da al alla non sono nel dei delle più come",
    "pt": "o a os as de do da dos das e é um uma em com para por que no na não ao mais como seu sua",
    "nl": "de het een en van is in met voor op te dat niet aan zijn bij uit ook naar om deze wordt",
    "sv": "och att det en ett som är av för med på den till inte i har om från ska eller",
    "pl": "i w na z do jest się nie to że o dla od po przez jak oraz za są ten",
}
LANGUAGES_OF = {
    word: tuple(language for language, words in SMALL_WORDS.items() if word in words.split())
    for words in SMALL_WORDS.values()
    for word in words.split()
}


def guess_language(text: str) -> str:
    """Guess the language of a text as a two-letter code, or "unknown".

    >>> guess_language("a mug with the moon on it"), guess_language("eine Tasse mit dem Mond"), guess_language("mug 3")
    ('en', 'de', 'unknown')
    >>> [guess_language(text) for text in ("赤いマグ", "красный дом", "їжа")]
    ['ja', 'ru', 'uk']
    """
    text = text[:MAX_CHARACTERS]
    letters = sum(map(str.isalpha, text))
    for language, script in SCRIPTS:
        matches = len(script.findall(text))
        # A few kana tell Japanese from Chinese; elsewhere one foreign letter tells nothing.
        if matches and (matches * 2 >= letters or (language == "ja" and matches * 10 >= letters)):
            return "uk" if language == "ru" and UKRAINIAN.search(text) else language
    scores = Counter[str]()
    for word in WORD.findall(text.lower()):
        shared = LANGUAGES_OF.get(word, ())
        for language in shared:
            scores[language] += 1 / len(shared)  # type: ignore[assignment]  # a fraction, since many share a word
    best = scores.most_common(2)
    # A single word of two or fewer languages may be a name or a size; a tie says nothing.
    if not best or (len(best) > 1 and best[0][1] == best[1][1]) or best[0][1] < 1:
        return UNKNOWN
    return best[0][0]
