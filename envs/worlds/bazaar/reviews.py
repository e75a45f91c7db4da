"""What users of the bazaar write about what they bought, in their own voice."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .items import CatalogueItem
from .language import counted, with_article
from .shelves import SHELVES


@dataclass(frozen=True)
class Tone:
    """A way to write: openings by verdict, and sentences to go on with.

    ``{noun}``, ``{a_noun}``, ``{name}``, ``{brand}``, ``{feature}``, ``{material}`` and ``{use}``
    are filled in from the product; ``rating`` is what people of this tone usually give.
    """

    description: str
    rating: float
    good: tuple[str, ...]
    mixed: tuple[str, ...]
    bad: tuple[str, ...]
    on_feature: tuple[str, ...]
    off_feature: tuple[str, ...]
    further: tuple[str, ...]
    closing: tuple[str, ...]


TONES: Mapping[str, Tone] = {
    "enthusiastic": Tone(
        description="Enthusiastic, exclamatory, generous",
        rating=4.6,
        good=(
            "Wow, what {a_noun}!",
            "I am over the moon with this {noun}!",
            "Best {noun} I have ever had!",
            "This {name} made my week!",
        ),
        mixed=("I so wanted to adore this {noun}!", "Almost there, dear {brand}!"),
        bad=("Oh no, what a let-down this {noun} was!", "I am so sad about this {noun}!"),
        on_feature=(
            "It is so wonderfully {feature}!",
            "And how {feature} it is, I could not believe it!",
            "Truly {feature}, just as they said!",
        ),
        off_feature=("They call it {feature}, it is not!", "Where is the {feature} part, please?!"),
        further=(
            "Perfect for {use}!",
            "The {material} feels amazing!",
            "All my friends want one now!",
            "{brand} has done it again!",
            "I smile each time I use it!",
        ),
        closing=("Run, do not walk!", "Ten out of ten!", "You need this in your life!"),
    ),
    "dry": Tone(
        description="Dry, laconic, ironic",
        rating=3.9,
        good=(
            "It is {a_noun}. It works.",
            "No complaints about the {noun}, which is rare.",
            "The {noun} does what {a_noun} does.",
            "{a_noun} that minds its own business.",
        ),
        mixed=("The {noun} exists, and so do better ones.", "Half of a good {noun}."),
        bad=("An expensive way to own no {noun}.", "The {noun} and I have parted."),
        on_feature=(
            "{feature}, as claimed.",
            "They said {feature}. For once that was true.",
            "Reasonably {feature}.",
        ),
        off_feature=("{feature} it is not.", "The word {feature} is used loosely here."),
        further=(
            "I use it for {use}.",
            "The {material} has not fallen apart.",
            "{brand} may carry on.",
            "It arrived in a box.",
            "Nobody has remarked on it.",
        ),
        closing=("That is all.", "Make of that what you will.", "It will do."),
    ),
    "grumpy": Tone(
        description="Critical, blunt, hard to please",
        rating=3.3,
        good=(
            "Fine, I admit it, this {noun} is decent.",
            "I looked for faults and found few.",
            "For once {a_noun} that was not made to annoy me.",
        ),
        mixed=(
            "Could be worse, could be a lot better.",
            "The {noun} is middling, like most things.",
            "I have had better {noun} luck.",
        ),
        bad=(
            "Who tests these things?",
            "What a useless {noun}.",
            "This {noun} went straight back.",
        ),
        on_feature=(
            "At least it is {feature}.",
            "It is {feature}, I will give them that.",
            "{feature}, fine, but that is the least I expect.",
        ),
        off_feature=("{feature}, my foot.", "If that is {feature} then I am a ballerina."),
        further=(
            "The manual is a joke.",
            "Try it for {use} and then we talk.",
            "The {material} is thinner than it used to be.",
            "{brand} should answer its mail.",
            "And the price, do not get me started.",
        ),
        closing=("You have been warned.", "Nothing is made well any more.", "Do better."),
    ),
    "warm": Tone(
        description="Warm, personal, family-minded",
        rating=4.4,
        good=(
            "We are so fond of our new {noun}.",
            "This {noun} has become one of the family.",
            "What a lovely {noun} this is.",
            "I bought the {noun} for my daughter, she is happy.",
        ),
        mixed=("Bless it, the {noun} tries.", "We are getting along with the {noun}, slowly."),
        bad=("Sadly the {noun} was not for us.", "I wish I had kinder words for this {noun}."),
        on_feature=(
            "It is nice and {feature}, which matters at our house.",
            "My husband loves how {feature} it is.",
            "Being {feature} is a real blessing.",
        ),
        off_feature=(
            "We had hoped that it would be {feature}.",
            "It is not as {feature} as we needed.",
        ),
        further=(
            "We use it for {use}.",
            "The {material} is gentle to the touch.",
            "Even my mother asked where it came from.",
            "The folks at {brand} clearly care.",
            "It came just in time for the weekend.",
        ),
        closing=("With love from our home.", "I would give it as a gift.", "Thank you kindly."),
    ),
    "technical": Tone(
        description="Precise, technical, fact-based",
        rating=4.0,
        good=(
            "After four weeks of testing the {noun} meets its specification.",
            "Measured against two others, this {noun} comes first.",
            "Build quality of the {name}: excellent.",
        ),
        mixed=(
            "The {noun} meets some of its specification.",
            "Results with this {noun} vary from day to day.",
        ),
        bad=(
            "The {noun} fails its own specification.",
            "Unit defective, replacement defective too.",
        ),
        on_feature=(
            "The claim '{feature}' holds under load.",
            "Tested as {feature}: confirmed.",
            "Rated {feature}, and within tolerance.",
        ),
        off_feature=(
            "The claim '{feature}' could not be reproduced.",
            "Not {feature} by any test.",
        ),
        further=(
            "Main use case: {use}.",
            "Material is {material}, joints are clean.",
            "{brand} tolerances are consistent across units.",
            "Weight is as listed, within 2 %.",
            "No drift after thirty cycles.",
        ),
        closing=("Details on request.", "Will update after six months.", "Data beats opinion."),
    ),
    "chatty": Tone(
        description="Chatty, rambling, humorous",
        rating=4.2,
        good=(
            "So there I was, without {a_noun}, and now look at me.",
            "Funny story, I did not even want {a_noun}, and now I cannot do without.",
            "Let me tell you about this {noun}, pull up a chair.",
        ),
        mixed=(
            "So the {noun} and I, it's complicated.",
            "Not sure where to begin with this {noun}.",
        ),
        bad=(
            "Right, gather round for the sad tale of the {noun}.",
            "You would laugh if you had seen me with this {noun}.",
        ),
        on_feature=(
            "And it's {feature}, like, properly {feature}, my neighbor noticed.",
            "Did I say that it's {feature}, because it is.",
            "My cousin said it wouldn't be {feature}, well, who's laughing now.",
        ),
        off_feature=(
            "It's about as {feature} as my uncle Bob.",
            "They said {feature}, I said where.",
        ),
        further=(
            "Took it along for {use}, as you do.",
            "The {material} reminds me of my old school bag.",
            "I've had {brand} things before, long story.",
            "Anyway, where was I.",
            "The cat has opinions on the box.",
        ),
        closing=("Anyway, I'm rambling.", "And that's the tale.", "Right, tea time."),
    ),
}

PET_PHRASES = (
    "bang for the buck",
    "chef's kiss",
    "no two ways about it",
    "happy as a clam",
    "at the end of the day",
    "you get what you pay for",
    "a game changer",
    "worth every penny",
    "it is what it is",
    "solid as a rock",
    "does the trick",
    "my two cents",
    "hand on heart",
    "simple as that",
    "mark my words",
    "in my humble opinion",
    "fit for a king",
    "top notch",
    "the bee's knees",
    "not my first rodeo",
    "cut above the rest",
    "all in all",
    "hats off",
    "credit where it is due",
)


def write_review(
    rng: random.Random,
    item: CatalogueItem,
    rating: int,
    *,
    tone: str,
    sentences: int,
    pet_phrases: Sequence[str],
    cared_about: Sequence[str],
) -> str:
    """A review of the item in a voice.

    Args:
        rng: Where chance comes from.
        item: What was bought.
        rating: 1 to 5; decides what is said.
        tone: A key of ``TONES``.
        sentences: About how many sentences the user writes.
        pet_phrases: Phrases that the user likes to throw in.
        cared_about: Features that the user looks at first.
    """
    voice = TONES[tone]
    shelf = SHELVES[item.shelf]
    words = {
        "noun": counted(item.noun),
        "a_noun": with_article(counted(item.noun)),
        "name": item.short_name,
        "brand": item.brand,
        "material": item.material,
        "use": rng.choice(shelf.uses),
    }
    opening = voice.good if rating >= 4 else voice.mixed if rating == 3 else voice.bad
    about = voice.on_feature if rating >= 3 else voice.off_feature
    # A user speaks first of what they care about, and of the rest by chance.
    cared = [feature for feature in item.features if feature in cared_about]
    others = [feature for feature in item.features if feature not in cared_about]
    features = cared + rng.sample(others, k=len(others))
    written = max(1, sentences + rng.choice((-1, 0, 0, 1)))
    lines = [rng.choice(opening).format(**words)]
    for feature in features[: max(1, written // 2)]:
        lines.append(rng.choice(about).format(feature=feature, **words))
    if rng.random() < 0.6:
        lines.append(f"{rng.choice(list(pet_phrases))}.")
    left = max(0, written - len(lines))
    further = rng.sample(voice.further, k=min(left, len(voice.further)))
    lines += [line.format(**words) for line in further]
    if written >= 3 and rng.random() < 0.7:
        lines.append(rng.choice(voice.closing))
    return " ".join(line[0].upper() + line[1:] for line in lines)
