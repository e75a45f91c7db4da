"""What the gazette's news is about: who does what, where, how many, and what for."""

import random
from dataclasses import dataclass

_IRREGULAR = {
    "ban": "banned",
    "build": "built",
    "drop": "dropped",
    "map": "mapped",
    "plan": "planned",
    "shoot": "shot",
    "teach": "taught",
}


@dataclass(frozen=True)
class Beat:
    """A field of news. Verbs are regular; ``actions`` are ``(verb, object)``."""

    name: str
    actors: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]
    things: tuple[str, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """The facts of one article; the same for whoever writes about it."""

    beat: str
    actor: str
    verb: str
    thing: str
    count: int
    counted: str
    effect: str
    place: str
    person: str


BEATS = (
    Beat(
        "city hall",
        ("city council", "mayor", "planning board", "transit office", "housing authority"),
        (
            ("approve", "a night bus plan"),
            ("delay", "the river bridge"),
            ("propose", "a tax on empty homes"),
            ("ban", "cars from the old market"),
            ("launch", "a rent register"),
            ("reject", "the parking garage"),
            ("open", "a public workshop"),
        ),
        ("bus lines", "streets", "town meetings", "public parks", "old bridges"),
        (
            "shorten the walk home",
            "bring families back downtown",
            "calm the traffic",
            "save the city money",
        ),
    ),
    Beat(
        "schools",
        ("school board", "head teacher", "parents' group", "science teacher", "state ministry"),
        (
            ("drop", "homework on weekends"),
            ("test", "a four-day school week"),
            ("restore", "music lessons"),
            ("shift", "the first bell to nine"),
            ("defend", "the summer reading list"),
            ("question", "tablets in first grade"),
        ),
        ("classrooms", "reading lessons", "pupils", "exam questions", "school trips"),
        (
            "help tired teenagers",
            "make mornings calmer",
            "close the reading gap",
            "keep young teachers in town",
        ),
    ),
    Beat(
        "health",
        ("county hospital", "sleep clinic", "family doctor", "health agency", "nurses' union"),
        (
            ("study", "short naps at work"),
            ("recommend", "a daily walk"),
            ("oppose", "energy drinks"),
            ("offer", "free hearing tests"),
            ("praise", "the quiet ward"),
            ("doubt", "the sugar tax"),
        ),
        ("patients", "clinics", "simple habits", "night shifts", "vaccine doses"),
        (
            "lower blood pressure",
            "cut waiting times",
            "help people sleep",
            "spare the emergency room",
        ),
    ),
    Beat(
        "science",
        ("university lab", "star observatory", "ocean institute", "seed bank", "young physicist"),
        (
            ("discover", "a silent bird song"),
            ("map", "the dark sea floor"),
            ("revive", "a forgotten wheat"),
            ("film", "a comet's tail"),
            ("measure", "the oldest ice"),
            ("explain", "how moths find the moon"),
        ),
        ("field stations", "sensors", "rare samples", "clear nights", "open questions"),
        (
            "change the textbooks",
            "warn coasts in time",
            "feed dry regions",
            "reveal how seasons shift",
        ),
    ),
    Beat(
        "sports",
        ("home team", "rowing club", "veteran coach", "youth academy", "cycling league"),
        (
            ("replace", "the star striker"),
            ("survive", "a cup replay"),
            ("hire", "a chess trainer"),
            ("finish", "the coldest race"),
            ("challenge", "the referee's call"),
            ("cross", "the frozen lake"),
        ),
        ("matches", "late goals", "young players", "training camps", "season tickets"),
        (
            "end the losing streak",
            "fill the stadium again",
            "win back the fans",
            "keep the club afloat",
        ),
    ),
    Beat(
        "food",
        ("corner bakery", "street cook", "farmers' market", "school kitchen", "cheese maker"),
        (
            ("revive", "sour rye bread"),
            ("serve", "soup for a coin"),
            ("smoke", "trout over apple wood"),
            ("pickle", "the whole harvest"),
            ("share", "a secret dumpling recipe"),
            ("roast", "forgotten beans"),
        ),
        ("recipes", "market stalls", "old ovens", "harvest festivals", "kitchen tricks"),
        (
            "rescue crooked vegetables",
            "warm a cold evening",
            "bring neighbors to one table",
            "save the family recipe",
        ),
    ),
    Beat(
        "travel",
        ("night train", "island ferry", "mountain hostel", "border town", "walking guide"),
        (
            ("reopen", "the coast line"),
            ("welcome", "winter hikers"),
            ("open", "the pilgrim path"),
            ("slow", "the tourist rush"),
            ("reward", "guests who stay longer"),
            ("revisit", "the salt road"),
        ),
        ("quiet beaches", "mountain huts", "train rides", "hidden villages", "packing tips"),
        (
            "spread the summer crowds",
            "make slow trips cheap",
            "spare the old town",
            "get you there by sunrise",
        ),
    ),
    Beat(
        "film",
        ("film festival", "village cinema", "debut director", "stunt double", "silent film star"),
        (
            ("restore", "a lost western"),
            ("refuse", "the happy ending"),
            ("premiere", "a film without words"),
            ("honor", "the sound crew"),
            ("shoot", "a thriller in one room"),
            ("mock", "its own sequel"),
        ),
        ("scenes", "film rolls", "award seasons", "screenings", "awkward interviews"),
        (
            "draw the young to old films",
            "keep the projector running",
            "make critics laugh",
            "revive the double feature",
        ),
    ),
    Beat(
        "business",
        ("family firm", "start-up", "savings bank", "shoe factory", "delivery giant"),
        (
            ("adopt", "the four-hour meeting ban"),
            ("rescue", "the paper mill"),
            ("trade", "offices for cabins"),
            ("repair", "what others throw away"),
            ("cancel", "the annual bonus"),
            ("reward", "its own staff"),
        ),
        ("workshops", "supply contracts", "job offers", "shareholder letters", "warehouses"),
        (
            "keep jobs in the valley",
            "please nervous investors",
            "halve the office rent",
            "outlast the downturn",
        ),
    ),
    Beat(
        "climate",
        ("forest ranger", "wind farm", "river trust", "weather service", "solar village"),
        (
            ("restore", "the flood meadow"),
            ("plant", "a shade corridor"),
            ("record", "the driest spring"),
            ("store", "summer heat for winter"),
            ("count", "the last swifts"),
            ("oppose", "the gravel pit"),
        ),
        ("storm warnings", "young trees", "rain barrels", "wind turbines", "heat records"),
        (
            "cool the inner city",
            "hold back the flood",
            "cut the heating bill",
            "bring the storks back",
        ),
    ),
    Beat(
        "family",
        ("retired couple", "single father", "foster home", "twin sisters' shop", "grandmother"),
        (
            ("start", "a toy library"),
            ("reclaim", "the dinner table"),
            ("invent", "a bedtime story line"),
            ("teach", "knitting by phone"),
            ("organize", "the street party"),
            ("unplug", "the living room"),
        ),
        ("family rules", "bedtime stories", "birthday ideas", "old letters", "long weekends"),
        (
            "bring quiet to the evening",
            "ease a lonely winter",
            "get children outdoors",
            "mend an old quarrel",
        ),
    ),
    Beat(
        "technology",
        ("phone maker", "open source club", "robot lab", "privacy watchdog", "map service"),
        (
            ("release", "a phone without apps"),
            ("block", "the face scanner"),
            ("patch", "a ten-year-old bug"),
            ("build", "a robot gardener"),
            ("rate", "the smart fridges"),
            ("delay", "the talking car"),
        ),
        ("software updates", "security holes", "test users", "privacy settings", "prototypes"),
        (
            "give people their evenings back",
            "stop the data trade",
            "make repairs simple",
            "spare batteries and nerves",
        ),
    ),
)
PLACES = (
    "Marlow Bay", "Eastfield", "Norrhavn", "Pine Hollow", "Castel Verde", "Dunmore", "Saltmarsh",
    "Lindau Heights", "Wexcombe", "Oakridge", "Port Alder", "Graystone", "Fernley", "Highmoor",
    "Brightwater", "Old Quarry", "Kestrel Point", "Windham", "Applecross", "Ravensford",
)  # fmt: skip
PEOPLE = (
    "Ada Brandt", "Tomas Reyes", "Lena Okafor", "Piotr Wolski", "Maya Lindqvist", "Samir Haddad",
    "Grace Tanaka", "Oscar Delgado", "Nora Achebe", "Felix Moreau", "Ruth Eklund", "Ivan Petrov",
    "Clara Nunes", "Jonas Weber", "Amina Diallo", "Hugo Silva",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def third(verb: str) -> str:
    """The verb for he, she or it: "pass" is "passes", "study" is "studies"."""
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if verb.endswith("y") and verb[-2] not in "aeiou" else f"{verb}s"


def past(verb: str) -> str:
    """The verb's past."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}d" if verb.endswith("e") else f"{verb}ed"


def draw_story(rng: random.Random, beat: Beat) -> Story:
    """The facts of an article."""
    verb, thing = rng.choice(beat.actions)
    return Story(
        beat=beat.name,
        actor=rng.choice(beat.actors),
        verb=verb,
        thing=thing,
        count=rng.randint(3, 19),
        counted=rng.choice(beat.things),
        effect=rng.choice(beat.effects),
        place=rng.choice(PLACES),
        person=rng.choice(PEOPLE),
    )


def write_article(rng: random.Random, story: Story) -> str:
    """The article's opening, in the paper's plain voice: nobody's style."""
    day = rng.choice(_DAYS)
    did = f"{past(story.verb)} {story.thing}"
    first = rng.choice(
        (
            f"The {story.actor} in {story.place} {did} on {day}.",
            f"On {day} the {story.actor} of {story.place} {did}.",
            f"In {story.place}, the {story.actor} {did} this {day}.",
        )
    )
    second = rng.choice(
        (
            f"It could {story.effect}, says {story.person}.",
            f"{story.person} expects that it will {story.effect}.",
            f"The hope is to {story.effect}, {story.person} told us.",
        )
    )
    third_sentence = rng.choice(
        (
            f"It is about {story.count} {story.counted}.",
            f"{story.count} {story.counted} are part of it.",
            f"At stake are {story.count} {story.counted}.",
        )
    )
    fourth = rng.choice(
        (
            "Not everyone agrees.",
            "A decision on the cost is still open.",
            "Work could begin before the end of the year.",
            "Other towns are watching closely.",
            "",
        )
    )
    return " ".join(part for part in (first, second, third_sentence, fourth) if part)
