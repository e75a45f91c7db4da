"""What the model reads: the apps' functions as tools, who the person is, the request last."""

from __future__ import annotations

from collections.abc import Sequence

from ...methods.method import PastSample

SYSTEM_PROMPT = (
    "You call the functions of a user's apps. Answer each request with exactly one function call: "
    "choose the app that suits this user, and its function that does what the user asks for, and "
    "fill in the arguments from the request and from what is known of the user."
)


def request_messages(
    request: str, *, persona: str = "", shown: Sequence[PastSample] = ()
) -> tuple[dict[str, str], ...]:
    r"""The messages of one request.

    Args:
        request: The user's own words.
        persona: Who the user is; empty shows nothing.
        shown: Other requests of the user with their calls; the first comes to stand next to the
            request.

    Example:
        >>> request_messages("Find me a lamp.", persona="Age: 31")[1]["content"]
        'About me:\nAge: 31\n\nRequest: Find me a lamp.'
    """
    parts = [f"About me:\n{persona}"] if persona else []
    if shown:
        lines = [f"- {past.input}\n  {past.output}" for past in reversed(shown)]
        parts.append("\n".join(["My other requests, each with the call I wanted:", *lines]))
    parts.append(f"Request: {request}")
    return (
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": "\n\n".join(parts)},
    )
