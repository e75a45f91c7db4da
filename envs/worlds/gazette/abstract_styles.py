"""How the gazette's authors write abstracts: a fingerprint for each, and what it makes of facts."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .papers import Paper

Voice = Literal["we", "passive", "this paper"]
Closing = Literal["code", "limits", "outlook", "use", ""]

OPENINGS: Mapping[str, tuple[str, ...]] = {
    "problem": (
        "{Problem} remains hard.",
        "{Problem} is known to limit {use}.",
    ),
    "background": (
        "In recent years, {problem} has drawn much attention.",
        "Over the last decade, {problem} has become central to {use}.",
    ),
    "question": (
        "How far can {method} take us in {problem}?",
        "Does {method} really help with {problem}?",
    ),
    "aim": (
        "The aim of this work is to understand {problem}.",
        "Our goal is simple: better {problem}.",
    ),
}
APPROACHES: Mapping[Voice, tuple[str, ...]] = {
    "we": (
        "{link}we apply {method} to {problem}.",
        "{link}we introduce {method} for {problem} and study it on {data}.",
    ),
    "passive": (
        "{link}{method} is applied to {problem}.",
        "{link}{problem} is addressed by {method}, and evaluated on {data}.",
    ),
    "this paper": (
        "{link}this paper applies {method} to {problem}.",
        "{link}this paper presents {method} for {problem}, with an evaluation on {data}.",
    ),
}
DATA: Mapping[Voice, tuple[str, ...]] = {
    "we": ("We draw on {size} {data}.", "We collect {size} {data} for this purpose."),
    "passive": ("A total of {size} {data} was examined.", "{size} {data} were analyzed."),
    "this paper": ("The study covers {size} {data}.", "The evidence comes from {size} {data}."),
}
EXTRAS: Mapping[Voice, tuple[str, ...]] = {
    "we": (
        "We compare against {rivals} alternatives.",
        "We also ask which part of the method matters.",
        "We repeat all experiments with different seeds.",
    ),
    "passive": (
        "Comparisons were made with {rivals} alternatives.",
        "The contribution of each part was isolated.",
        "All experiments were repeated with different seeds.",
    ),
    "this paper": (
        "The paper compares {rivals} alternatives.",
        "The analysis isolates the contribution of each part.",
        "The experiments are repeated with different seeds.",
    ),
}
CLOSINGS: Mapping[Closing, tuple[str, ...]] = {
    "code": ("Code and data are available online.", "All materials are publicly released."),
    "limits": (
        "The main limitation is the size of the sample.",
        "Whether this holds beyond {data} is not known.",
    ),
    "outlook": (
        "Future work will look at larger settings.",
        "We hope that this opens a new line of inquiry.",
    ),
    "use": ("The findings matter for {use}.", "This has direct consequences for {use}."),
    "": (),
}
LINKS = ("To this end, ", "Here, ", "In contrast to earlier work, ", "Building on this, ", "")
MARKERS = ("notably", "crucially", "interestingly", "in particular", "overall", "surprisingly")
LABELS = ("Background: ", "Methods: ", "Results: ", "Conclusion: ")


@dataclass(frozen=True)
class AbstractStyle:
    """An author's fingerprint.

    Attributes:
        opening: A key of ``OPENINGS``.
        voice: Who acts.
        link: Words before the approach.
        marker: A pet word before the result.
        numerals: Whether results are told in numbers, else in words.
        hedged: Whether results "may" and "suggest".
        labelled: Whether the parts have labels.
        extras: How many further sentences there are, 0 to 3.
        closing: A key of ``CLOSINGS``.
    """

    opening: str
    voice: Voice
    link: str
    marker: str
    numerals: bool
    hedged: bool
    labelled: bool
    extras: int
    closing: Closing

    @classmethod
    def draw(cls, rng: random.Random) -> "AbstractStyle":
        """A style at random."""
        return cls(
            opening=rng.choice(list(OPENINGS)),
            voice=rng.choices(("we", "passive", "this paper"), (4, 3, 3))[0],
            link=rng.choice(LINKS),
            marker=rng.choice(MARKERS),
            numerals=rng.random() < 0.5,
            hedged=rng.random() < 0.4,
            labelled=rng.random() < 0.2,
            extras=rng.randint(0, 3),
            closing=rng.choice(list(CLOSINGS)),
        )


def write_abstract(rng: random.Random, paper: Paper, style: AbstractStyle, habit: float) -> str:
    """An abstract: what it says is the paper's, how it says it the author's.

    Args:
        rng: Where chance comes from.
        paper: The facts.
        style: The author's fingerprint.
        habit: How often each habit is followed; one that is not gives way to any other's.
    """
    other = AbstractStyle.draw(rng)

    def habitual(name: str) -> AbstractStyle:
        return style if rng.random() < habit else other

    facts = {
        "problem": paper.problem,
        "Problem": paper.problem[0].upper() + paper.problem[1:],
        "method": paper.method,
        "data": paper.data,
        "size": paper.size,
        "rivals": paper.rivals,
        "use": paper.use,
        "link": habitual("link").link,
    }
    voice = habitual("voice").voice
    opening = rng.choice(OPENINGS[habitual("opening").opening])
    approach = rng.choice(APPROACHES[voice])
    further = rng.sample(EXTRAS[voice], k=habitual("extras").extras)
    closing = CLOSINGS[habitual("closing").closing]
    parts = [
        [opening],
        [approach, rng.choice(DATA[voice]), *further],
        [_result(paper, habitual("marker").marker, habitual("numerals"), habitual("hedged"))],
        [rng.choice(closing)] if closing else [],
    ]
    labelled = habitual("labelled").labelled
    written = []
    for label, sentences in zip(LABELS, parts, strict=True):
        text = " ".join(_sentence(each.format(**facts)) for each in sentences)
        if text:
            written.append(f"{label}{text}" if labelled else text)
    return " ".join(written)


def _result(paper: Paper, marker: str, numbers: AbstractStyle, hedges: AbstractStyle) -> str:
    by = f"by {paper.gain} percent" if numbers.numerals else "by a clear margin"
    if hedges.hedged:
        return f"{marker}, the results suggest that {paper.measure} may improve {by}."
    return f"{marker}, {paper.measure} improves {by}."


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
