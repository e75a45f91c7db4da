"""A folder with one dictionary a user, as ``trimtab store export`` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from ...errors import TrimtabError
from .dictionary import SteeringDictionary


class ChecksFingerprints(Protocol):
    """What refuses vectors of another model: a ``SteeredModel``."""

    def check_fingerprint(self, fingerprint: str, what: str) -> None:
        """Refuse vectors that were read from another model."""
        ...


def load_dictionaries(
    folder: Path | str, users: Iterable[str], *, model: ChecksFingerprints | None = None
) -> dict[str, SteeringDictionary]:
    """The users' dictionaries in a folder of files ``<user id>.safetensors``.

    Args:
        folder: The folder.
        users: Whose are wanted; who has no file there is left out.
        model: Refuse dictionaries of another model.

    Raises:
        TrimtabError: No such folder, none of the users in it, a file that holds another user's
            dictionary, or one made for another model.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise TrimtabError(f"there is no folder of dictionaries at {folder}")
    wanted = list(users)
    dictionaries = {}
    for user in wanted:
        path = folder / f"{user}.safetensors"
        # An id that leads elsewhere names no file of this folder.
        if path.name != f"{user}.safetensors" or not path.exists():
            continue
        dictionary = SteeringDictionary.load(path)
        if dictionary.user_id != user:
            raise TrimtabError(
                f"{path} holds the dictionary of {dictionary.user_id!r}; expected that of "
                f"{user!r}, as the file is called"
            )
        if model is not None:
            model.check_fingerprint(dictionary.fingerprint, str(path))
        dictionaries[user] = dictionary
    if not dictionaries:
        such = f"; expected files like {wanted[0]}.safetensors" if wanted else ""
        raise TrimtabError(f"{folder} holds a dictionary of none of the users{such}")
    return dictionaries
