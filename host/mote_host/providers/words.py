"""Cut an ask into words and clauses for the offline planner. English, and no more than needed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


ASKING = _set("what which who how where when why whats hows")
"""A clause that begins with one of these asks something; it orders nothing."""

STATING = _set(
    "is are was were has have had been did does should shall may might isn't why happens"
)
"""A clause with one of these tells or asks how things are; it orders nothing."""

CONDITION = _set(
    "if unless when whenever until while every each hourly daily tomorrow tonight later otherwise"
    " before as"
)
"""A sentence with one of these depends on something that this planner can't judge."""

NEGATION = _set("not never dont don't doesn't without avoid cannot can't nor")

VERBS = _set(
    "read run set get turn switch show tell give check measure start stop put make use call take"
    " report activate deactivate enable disable open close do control change"
)
"""Words of a tool's name or of an ask that say little about which tool is meant."""

STOP = _set(
    "a an and the of to for with in on off at by from or as it its this that these those there"
    " here is are was be been am i me my we our you your he she they them what which who how when"
    " where why please can could would will shall should may might must do does did have has had"
    " not no yes ok okay hello hi hey thanks thank now then also again just so if up down out all"
    " any some much many more long one let us about into over than too very want like need true"
    " false value number current unit between second seconds minute minutes hour hours"
)

TRUE = _set("on enable enabled activate start open true yes")
FALSE = _set("off disable disabled deactivate stop close shut false")

_QUOTED = r'"[^"\n]*"|“[^”\n]*”|(?<!\w)\'[^\'\n]*\'(?!\w)'
# A full stop or comma inside a number ends nothing.
_SENTENCE = re.compile(_QUOTED + r"|(?P<cut>[;!?\n]+|\.(?!\d))")
_CLAUSE = re.compile(
    _QUOTED + r"|(?P<cut>,(?!\d)|(?<!\d),|&|\b(?:and|then|also|plus|but)\b)", re.I
)
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_QUOTE = re.compile(_QUOTED)
_LATER = re.compile(
    r"\b(in|after) [\d.]+ ?(s|sec|min|h|hours?|minutes?|seconds?|days?)\b|\bat \d+:"
)


@dataclass(frozen=True, slots=True)
class Clause:
    """One part of an ask that may name one tool.

    `words` are lower case, without what is quoted. `ordered` is False where the words ask, tell
    or depend on a condition; `denied` is True where they forbid.
    """

    text: str
    words: tuple[str, ...]
    quotes: tuple[str, ...]
    ordered: bool = True
    denied: bool = False


def stem(word: str) -> str:
    """A word without its English ending: pumps, pumping and pumped are pump."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def words_of(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case; an underscore ends a word."""
    return tuple(_WORD.findall(text.lower().replace("\u2019", "'").replace("_", " ")))


def clauses(ask: str) -> list[Clause]:
    """The ask's clauses, in order. Quoted text is never cut."""
    found: list[Clause] = []
    wondered = False
    for sentence, ending in _cut(ask, _SENTENCE):
        words = words_of(_QUOTE.sub(" ", sentence))
        # "Is the soil dry? Then run the pump." is a condition, too.
        follows = wondered and words[:1] == ("then",)
        found.extend(_read_sentence(sentence, words, "?" in ending, follows))
        wondered = "?" in ending or (wondered and not words)
    return found


def _read_sentence(
    sentence: str, all_words: tuple[str, ...], asked: bool, follows: bool
) -> Iterator[Clause]:
    wondering = bool(all_words) and all_words[0].partition("'")[0] in ASKING
    # "Could you ...?" is an order; "may I ...?" and "the lamp is on?" are not.
    held = asked and not wondering and "you" not in all_words and "please" not in all_words
    later = (
        follows
        or bool(CONDITION & set(all_words[wondering:]))
        or bool(_LATER.search(sentence.lower()))
    )
    denied = False
    for text, _ in _cut(sentence, _CLAUSE):
        words = words_of(_QUOTE.sub(" ", text))
        if not words and not text.strip():
            continue
        wondering = wondering and not VERBS.intersection(words[:1])
        held = held or (not wondering and bool(STATING & set(words)))
        denied = denied or bool(NEGATION & set(words))
        quotes = tuple(quote[1:-1] for quote in _QUOTE.findall(text))
        yield Clause(text.strip(), words, quotes, not (wondering or held or later), denied)


def _cut(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Each part of `text` with what ended it."""
    start = 0
    for match in pattern.finditer(text):
        if match["cut"] is not None:
            yield text[start : match.start()], match["cut"]
            start = match.end()
    yield text[start:], ""
