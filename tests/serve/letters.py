"""Users whose vectors point to a letter of their own, so that an answer shows whose it is."""

import asyncio
from dataclasses import dataclass, field

import httpx
from openai import APIError, AsyncOpenAI

from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

USERS = 64
LAST = SteeringSettings(sites=("block",), depths=(1.0,), strength=1000.0, positions="all")


def put_letters(model, place: str) -> dict[str, str]:
    """Make a store of such users; gives each one's letter."""
    heads = model.hf.get_output_embeddings().weight.float()
    points = points_of(LAST.layers(model), LAST.sites)
    tokens = [
        token
        for token in range(256)
        if int((heads @ heads[token]).argmax()) == token
        and model.tokenizer.decode([token]).isprintable()
        and model.tokenizer.decode([token]).isascii()
        and model.tokenizer.decode([token]).strip()
    ][:USERS]
    assert len(tokens) == USERS
    key = model.encoder.encode(["Who am I?"])
    wanted = {f"user-{n}": model.tokenizer.decode([token]) for n, token in enumerate(tokens)}
    with SteeringStore(place, model=model) as store:
        store.put(
            *(
                SteeringDictionary(
                    user_id=user,
                    fingerprint=model.fingerprint,
                    points=points,
                    encoder_name=model.encoder.name,
                    entries=[Entry("s", "Who am I?", wanted[user], "response", 0)],
                    keys=key,
                    vectors=heads[token][None, None],
                )
                for user, token in zip(wanted, tokens, strict=True)
            )
        )
    return wanted


@dataclass
class Heard:
    """What came of many requests: how many were right, what was wrong, and what failed."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)


async def asked_of_all(
    urls: list[str], wanted: dict[str, str], rounds: int, asked: Heard, *, retries: int = 8
) -> None:
    """Everybody asks at once, plain and streamed; an answer that ends early counts as wrong."""
    clients = [
        AsyncOpenAI(base_url=f"{u}/v1", api_key="none", max_retries=retries, timeout=120)
        for u in urls
    ]

    async def ask(user: str, number: int) -> None:
        for turn in range(rounds):
            client = clients[(number + turn) % len(clients)]
            options = {
                "model": "tiny",
                "messages": [{"role": "user", "content": f"Who am I? {number} {turn}"}],
                "user": user,
                "max_tokens": 3 + number % 4,
                "extra_headers": {"X-Trimtab-User": user},
            }
            text, finish = "", None
            try:
                if (number + turn) % 2:
                    stream = await client.chat.completions.create(**options, stream=True)
                    async for chunk in stream:
                        for choice in chunk.choices:
                            text += choice.delta.content or ""
                            finish = choice.finish_reason or finish
                else:
                    answer = await client.chat.completions.create(**options)
                    text = answer.choices[0].message.content
                    finish = answer.choices[0].finish_reason
            except (APIError, httpx.HTTPError) as error:
                asked.failed.append(error)
                continue
            if set(text) == {wanted[user]} and finish is not None:
                asked.right += 1
            else:
                asked.wrong.append(f"{user}: {text!r} {finish}, expected {wanted[user]!r}")

    await asyncio.gather(*(ask(user, number) for number, user in enumerate(wanted)))
    for client in clients:
        await client.close()
