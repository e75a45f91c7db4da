"""What a user has heard and said, from an episode's steps and as chat messages."""

from trimtab.agent.users import Conversation, UserGoal
from trimtab.agent.users.persona import GREETING, spoken, user_messages


def step(name, value, reply=None, error=None):
    return {"call": {"name": name}, "value": value, "reply": reply, "error": error}


def test_only_what_was_said_to_the_user_is_heard():
    steps = [
        step("respond", "which one?", "the red one"),
        step("search", ["B1"]),
        step("respond", "", error={"kind": "invalid_arguments"}),
        {"call": None, "value": None, "reply": None, "error": {"kind": "unparsable"}},
        step("respond", "here it is"),
    ]
    conversation = Conversation.of(None, "a lamp", steps)
    assert conversation.heard == ("which one?", "here it is")
    assert conversation.answered == ("the red one",)
    assert conversation.messages("hello") == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "a lamp"},
        {"role": "user", "content": "which one?"},
        {"role": "assistant", "content": "the red one"},
        {"role": "user", "content": "here it is"},
    ]


def test_the_prompt_holds_persona_and_target_and_ends_with_what_the_agent_said():
    user_goal = UserGoal(
        "search",
        {"Tone and Style": "blunt"},
        title="Lumo Lamp",
        category="Lighting",
        price=12.5,
        features=("DIMMABLE",),
    )
    system, greeting, request, said = user_messages(Conversation(user_goal, "light!", ("hm?",), ()))
    for part in ("Tone and Style: blunt", "Lumo Lamp", "Lighting", "12.50", "DIMMABLE", "search"):
        assert part in system["content"]
    assert "Brand" not in system["content"]
    assert greeting == {"role": "user", "content": GREETING}
    assert request == {"role": "assistant", "content": "light!"}
    assert said == {"role": "user", "content": "hm?"}


def test_a_reviewer_knows_the_review():
    user_goal = UserGoal("review", title="Lamp", rating=4.0, review="It glows.")
    system = user_messages(Conversation(user_goal, "hm", ("which?",), ()))[0]["content"]
    assert "It glows." in system and "4 of 5 stars" in system


def test_speech_is_one_line():
    assert spoken('\n "Yes, please."\nAssistant: fine') == "Yes, please."
    assert spoken("User: no") == "no"
    assert spoken("  \n ") == "..."
    assert spoken('"') == '"'
