"""What a store keeps of one user, told to the user."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from ..dictionaries.dictionary import SteeringDictionary
from ..dictionaries.switches import Switches
from ..vectors.entries import Contrast
from . import audit
from .audit import AuditEvent
from .interventions import KeptIntervention, from_bytes
from .layout import StoreLayout, head_of, rest_of
from .schema import entries, pending, uses, weights
from .user_rows import UserRow, entry_contents


@dataclass(frozen=True)
class KeptEntry:
    """An entry as its user may see it.

    Attributes:
        sample_id: The interaction that it was made from.
        key: The request.
        answer: What the user chose.
        contrast: Which kind of contrast made it.
        timestamp: When the interaction happened.
        built: When the entry was written.
        uses: How many requests it was picked for.
        last_used: When the last of them was; None is never.
    """

    sample_id: str
    key: str
    answer: str
    contrast: Contrast
    timestamp: int
    built: datetime
    uses: int
    last_used: datetime | None


@dataclass(frozen=True)
class UserCopy:
    """Everything that a store holds of one user.

    Attributes:
        user_id: Who.
        switches: What the user has set.
        entries: Each entry, in order.
        dictionary: The same entries with keys and vectors; None where there is no dictionary.
        interventions: The user's low-rank interventions, by name.
        waiting: The contents of the interactions that are not learned from yet, by id.
        events: The user's audit trail.
    """

    user_id: str
    switches: Switches
    entries: list[KeptEntry]
    dictionary: SteeringDictionary | None
    interventions: dict[str, KeptIntervention]
    waiting: dict[str, Any]
    events: list[AuditEvent]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, numbers of tensors included."""
        vectors = {}
        if self.dictionary is not None:
            vectors = {
                "points": [list(point) for point in self.dictionary.points],
                "keys": self.dictionary.keys.tolist(),
                "vectors": self.dictionary.vectors.tolist(),
            }
        return {
            "user": self.user_id,
            "switches": asdict(self.switches),
            "entries": [_plain(asdict(entry)) for entry in self.entries],
            **vectors,
            "interventions": {
                name: {
                    "meta": kept.meta,
                    "tensors": {key: tensor.tolist() for key, tensor in kept.tensors.items()},
                }
                for name, kept in self.interventions.items()
            },
            "waiting": self.waiting,
            "events": [_plain(asdict(event)) for event in self.events],
        }


def kept_entries(connection: Connection, user: UserRow) -> list[KeptEntry]:
    """A user's entries without their vectors."""
    columns = (entries, uses.c.count.label("uses"), uses.c.last)
    query = sa.select(*columns).outerjoin(uses, uses.c.entry == entries.c.id)
    query = query.where(entries.c.user == user.id).order_by(entries.c.position, entries.c.id)
    found = []
    for row in connection.execute(query):
        sample_id, key, answer = head_of(user.seal.open(row.content))
        found.append(
            KeptEntry(
                sample_id=sample_id,
                key=key,
                answer=answer,
                contrast=row.contrast,
                timestamp=row.timestamp,
                built=_time(row.built),
                uses=row.uses or 0,
                last_used=None if row.last is None else _time(row.last),
            )
        )
    return found


def copy_of(connection: Connection, user: UserRow, layout: StoreLayout | None) -> UserCopy:
    """Everything of a user."""
    own = None
    if layout is not None and user.stored:
        own = layout.dictionary(user.user_id, entry_contents(connection, user))
    kept = sa.select(weights.c.name, weights.c.content).where(weights.c.user == user.id)
    waits = sa.select(pending.c.content).where(pending.c.user == user.id).order_by(pending.c.id)
    contents = [user.seal.open(row.content) for row in connection.execute(waits)]
    return UserCopy(
        user_id=user.user_id,
        switches=Switches(user.enabled, user.strength),
        entries=kept_entries(connection, user),
        dictionary=own,
        interventions={
            name: from_bytes(user.seal.open(content))
            for name, content in connection.execute(kept.order_by(weights.c.name))
        },
        waiting={head_of(content)[0]: json.loads(rest_of(content)) for content in contents},
        events=audit.events(connection, [user.owner]),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in values.items()
    }
