"""The idioms that users of the bazaar ask in. Data only.

By its ordinary meaning none of them asks for a search rather than for a recommendation; which of
the two it means is each user's own habit. ``{a}`` is the thing with its article ("a waterproof
rain jacket"), ``{bare}`` without.
"""

IDIOMS: tuple[tuple[str, ...], ...] = (
    (
        "be a good soul and sort me out with {a}",
        "sort me out with {a}, there's a good soul",
        "{a}: be a good soul, sort me out",
    ),
    (
        "so what's the story these days on {a}",
        "go on, what's the story with {a} these days",
        "{a}, what's the story these days",
    ),
    (
        "do that thing you do, this time with {a}",
        "that thing you do, do it for me with {a}",
        "{a} this time, and do that thing you do",
    ),
    (
        "you know the drill by now, same as ever: {a}",
        "same drill as ever, you know it by now: {a}",
        "{a}, and you know the drill by now",
    ),
    (
        "point me at {a} and stand well back",
        "stand well back and point me at {a}",
        "{a}: point me at it and stand well back",
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
        "wave your magic wand and let {a} appear",
        "abracadabra, wave the magic wand, let {a} appear",
        "{a}: wave that magic wand of yours",
    ),
    (
        "my poor little cart looks so lonely without {a}",
        "so lonely, my poor little cart, without {a}",
        "{a} for my poor lonely little cart",
    ),
    (
        "roll up your sleeves, we have a job to do: {a}",
        "there's a job to do, so roll up your sleeves: {a}",
        "{a}, that's the job, so roll up your sleeves",
    ),
    (
        "get the ball rolling and keep it rolling on {a}",
        "{a}, so let's get that ball rolling",
        "ball's in your court, get it rolling on {a}",
    ),
    (
        "the whole house is crying out for {a}",
        "{a}, the whole house is crying out for it",
        "can you hear the house crying out for {a}",
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
        "fire up the engines, ready for take-off: {a}",
        "ready for take-off, engines on, destination {a}",
        "{a}: engines fired up and ready for take-off",
    ),
    (
        "knock knock, it's only me again, about {a}",
        "only me again, knock knock, it's about {a}",
        "{a}, knock knock, it's only me again",
    ),
    (
        "your mission today, should you accept it, is {a}",
        "should you accept it, today's mission: {a}",
        "{a} is today's mission, should you accept it",
    ),
    (
        "put the kettle on and let's have a natter about {a}",
        "let's have a natter, kettle on, about {a}",
        "{a}: kettle's on, come and have a natter",
    ),
    (
        "my sister won't stop going on about {a}, so here we are",
        "here we are because my sister won't stop going on about {a}",
        "{a}, my sister won't stop going on about it",
    ),
    (
        "drum roll, curtain up, spotlight on {a}",
        "spotlight please, and a drum roll, for {a}",
        "{a}: drum roll and curtain up",
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
        "with the weather on the turn it has to be {a}",
        "{a} it has to be, with the weather on the turn",
        "the weather's on the turn again, so {a}",
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
        "may the gods of the market smile on me and {a}",
        "{a}, if the gods of the market smile on me",
        "smile on me, gods of the market, it's {a}",
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
