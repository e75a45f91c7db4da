"""The scripted user: true to persona and target, the same every time, never naming the target."""

import pytest

from trimtab.agent.users import Conversation, Reply, ScriptedUser, UserGoal
from trimtab.agent.users.scripted import clues
from trimtab.envs.worlds.bazaar import generate_bazaar

LAMP = UserGoal(
    type="search",
    persona={"Interaction Complexity": "Low", "Brand Preference": "Lumo, Glow"},
    asin="B000000001",
    title="Lumo Desk Lamp, Brass",
    category="Lighting",
    price=61.99,
    store="Lumo",
    features=(
        "DIMMABLE: from bright to barely there.",
        "Made of brass, all of it, by hand, in Leeds.",
    ),
)


def talk(user_goal, *heard, answered=()):
    return ScriptedUser().answer(Conversation(user_goal, "hm", tuple(heard), tuple(answered))).text


def whole_talk(user_goal, count):
    answered = []
    for number in range(count):
        answered.append(talk(user_goal, *["what?"] * (number + 1), answered=answered))
    return answered


def test_each_answer_is_the_next_clue():
    assert whole_talk(LAMP, 7) == [
        "Please search the shop for it.",
        "I am looking for something in Lighting.",
        "It should have this: dimmable.",
        "It should have this: Made of brass, all of it, by hand.",
        "I would spend up to 70 dollars.",
        "I like these brands: Lumo, Glow.",
        "That is all I can tell you. Please do what you can with it.",
    ]


def test_a_talkative_user_gives_two_clues_at_a_time():
    talkative = UserGoal(**{**LAMP.to_json(), "persona": {"Interaction Complexity": "High"}})
    first, second, *_ = whole_talk(talkative, 3)
    assert first == "Please search the shop for it. I am looking for something in Lighting."
    assert second.count("It should have this") == 2


def test_the_target_is_known_when_it_is_named_and_costs_no_clue():
    found = "Yes, that is the one. Thank you, that is all."
    assert talk(LAMP, "Is it the lumo desk lamp, brass?") == found
    assert talk(LAMP, "B000000001?", "and else?", answered=[found]) == next(clues(LAMP))
    # Of what is reviewed, the name is no secret, and naming it ends nothing.
    review = UserGoal(type="review", title="Lumo Desk Lamp, Brass", rating=4.0)
    assert talk(review, "Lumo Desk Lamp, Brass?") == "Please write and post a review for me."


def test_a_reviewer_says_which_product_and_how_many_stars():
    review = UserGoal(type="review", title="A lamp", rating=4.0, persona={"Focus Aspect": "light"})
    assert list(clues(review))[1:] == [
        "It is about A lamp.",
        "I give it 4 of 5 stars.",
        "What matters to me: light.",
    ]


def test_nothing_known_is_nothing_told():
    assert ScriptedUser().answer(Conversation(None, "hm", ("what?",), ())) == Reply(
        "That is all I can tell you. Please do what you can with it."
    )


def test_no_clue_names_the_target_of_any_task():
    world = generate_bazaar(users=6, products=200)
    for task in world.test:
        user_goal = UserGoal.of(task, world.profile(task.user_id))
        told = " ".join(clues(user_goal))
        assert task.target.asin not in told
        if task.type != "review":
            assert task.target.product_info.title not in told
        assert user_goal == UserGoal.from_json(user_goal.to_json())


@pytest.mark.parametrize("kind", ["search", "recommend", "review"])
def test_every_kind_of_user_goal_says_its_purpose_first(kind):
    assert talk(UserGoal(type=kind), "what?").startswith("Please ")
