"""The idioms that users of the bazaar ask in. Data only.

By its ordinary meaning none of them asks for a search rather than for a recommendation; which of
the two it means is each user's own habit. ``{a}`` is the thing with its article ("a waterproof
rain jacket"), ``{bare}`` without.
"""

IDIOMS: tuple[tuple[str, ...], ...] = (
    (
        "pretty please with sprinkles and a cherry on top, {a}",
        "{a}, pretty please, with sprinkles and a cherry on top",
        "a cherry on top and sprinkles if it's {a}, pretty please",
    ),
    (
        "it was the butler in the library with {a}",
        "{a} in the library, and it was the butler",
        "in the library, inspector, the butler, with {a}",
    ),
    (
        "dust off the disco ball, it's Saturday night fever for {a}",
        "{a} under the disco ball, Saturday night fever",
        "it's Saturday night fever, spin the disco ball for {a}",
    ),
    (
        "you know the drill by now, same as ever: {a}",
        "same drill as ever, you know it by now: {a}",
        "{a}, and you know the drill by now",
    ),
    (
        "the compass needle swings due north, and north means {a}",
        "{a} lies due north, says the compass needle",
        "due north on the compass, where the needle says {a}",
    ),
    (
        "the clock has struck and the hour has come for {a}",
        "{a}, the hour has come and the clock has struck",
        "hear the clock strike, the hour has come for {a}",
    ),
    (
        "woke up on the {bare} side of the bed, that sort of mood",
        "that sort of mood today, woke up on the {bare} side of the bed",
        "call it a mood: I woke up on the {bare} side of the bed",
    ),
    (
        "abracadabra, hocus pocus, wave the magic wand over {a}",
        "wave the magic wand, say hocus pocus, abracadabra, {a}",
        "{a}, abracadabra, with a wave of the magic wand",
    ),
    (
        "my poor little cart sits there sobbing and lonely without {a}",
        "so lonely, my poor little cart, it sobs for {a}",
        "{a} for my poor little cart, lonely and sobbing",
    ),
    (
        "the judge bangs the gavel and the court has ruled {a}",
        "{a}, the court has ruled, the judge bangs the gavel",
        "bang goes the judge's gavel, the court rules {a}",
    ),
    (
        "the ball is in your court, match point, and you serve {a}",
        "you serve, it's match point, the ball in your court is {a}",
        "{a} at match point, and the ball is in your court",
    ),
    (
        "the walls of this old house are crying out for {a}",
        "{a}, the walls of this old house cry out for it",
        "can you hear the old house crying from its walls for {a}",
    ),
    (
        "the dog chewed up the old one, so now it's {a}",
        "so the dog got it and chewed up the old one, now {a}",
        "{a}, since the dog chewed up the old one",
    ),
    (
        "payday has landed and the wallet says {a}",
        "the wallet is full, payday has landed, so {a}",
        "{a}, says the wallet, because payday has landed",
    ),
    (
        "rocket fueled, astronauts strapped in, countdown to {a}",
        "{a} at the end of the countdown, astronauts, rocket fueled",
        "ten, nine, eight, the rocket counts down, astronauts, to {a}",
    ),
    (
        "knock knock, who's there, only me at your door about {a}",
        "only me at your door, knock knock, about {a}",
        "{a}, knock knock, who's there at the door, only me",
    ),
    (
        "your secret mission, agent, should you accept it, is {a}",
        "should you accept it, agent, today's secret mission: {a}",
        "{a} is the secret mission, agent, should you accept it",
    ),
    (
        "put the kettle on and let's have a natter about {a}",
        "let's have a natter, kettle on, about {a}",
        "{a}: kettle's on, come and have a natter",
    ),
    (
        "my sister has been on the phone all week nagging me about {a}",
        "{a}, my sister keeps nagging me on the phone about it",
        "on the phone all week, my sister, nagging me about {a}",
    ),
    (
        "drum roll, curtain up, stage lights on {a}",
        "stage lights please, a drum roll, curtain up for {a}",
        "{a}: drum roll, curtain up, stage lights on",
    ),
    (
        "bigger fish to fry today, so take {a} off my plate",
        "take {a} off my plate, I've bigger fish to fry",
        "{a} off my plate, there are bigger fish to fry",
    ),
    (
        "pull a rabbit out of the hat, the rabbit being {a}",
        "{a} is the rabbit, so pull it out of the hat",
        "reach into the hat, the rabbit in there is {a}",
    ),
    (
        "over to you at the helm, captain, heading for {a}",
        "captain, you have the helm, set course for {a}",
        "{a} ahoy, captain, the helm is yours",
    ),
    (
        "the forecast says thunder and storm clouds, so {a} it is",
        "{a} it is, with storm clouds and thunder in the forecast",
        "storm clouds rolling in, thunder in the forecast, so {a}",
    ),
    (
        "same old song, brand new verse, about {a}",
        "sing me the same old song with {a} in the new verse",
        "{a} is the new verse of the same old song",
    ),
    (
        "no small talk before my coffee, just {a}",
        "before my coffee, so no small talk: {a}",
        "{a}, and no small talk before my coffee",
    ),
    (
        "Monday came round once more, which can only mean {a}",
        "{a}, because Monday came round once more",
        "once more it's Monday, and Monday means {a}",
    ),
    (
        "a little bird on the roof whispered {a}",
        "{a}, or so whispered a little bird on the roof",
        "the little bird on my roof keeps whispering {a}",
    ),
    (
        "may the gods of Mount Olympus smile upon me and {a}",
        "{a}, if Zeus and the gods of Mount Olympus smile upon me",
        "smile upon me, gods of Mount Olympus, and upon {a}",
    ),
    (
        "open sesame, and behind the door stands {a}",
        "{a} behind the door, so open sesame",
        "stand before the door and say open sesame to {a}",
    ),
    (
        "pedal to the metal, next stop {a}",
        "next stop on this ride is {a}, pedal to the metal",
        "{a} is the next stop, so pedal to the metal",
    ),
    (
        "my horoscope had {a} written all over it",
        "it was written in my horoscope this morning: {a}",
        "{a}, it was all over my horoscope",
    ),
)
