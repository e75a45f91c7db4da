"""A user's secret, and what is sealed with it: to overwrite the secret is to forget the user.

SQLite moves rows between pages and leaves copies of them in what it takes for empty space, where
``secure_delete`` does not reach (a fuzz of puts and deletes found them with SQLite 3.40). So a
user's id, texts, keys and vectors lie in the database only as ciphertext (AES-256-GCM), and the
secret in a row of fixed size that is never moved, only overwritten. A row that came under another
user's name could not be opened with that user's secret either.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import TrimtabError

SECRET_BYTES = 32
_NONCE_BYTES = 12


def new_secret() -> bytes:
    """A secret for one user."""
    return secrets.token_bytes(SECRET_BYTES)


class Seal:
    """Seals and opens what belongs to the user of one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = bytes(secret)
        self._cipher = AESGCM(self._secret)

    def close(self, content: bytes) -> bytes:
        """The content as ciphertext, 28 bytes longer."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, None)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed.

        Raises:
            TrimtabError: It was sealed with another secret, or changed since.
        """
        sealed = bytes(sealed)
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
        except InvalidTag:
            raise TrimtabError(
                "the store holds an entry that is damaged or not of the user whom it lies under; "
                "restore a copy of the store"
            ) from None

    def sample(self, sample_id: str) -> bytes:
        """What a sample's rows are found by: a hash that tells nothing without the secret.

        Raises:
            UnicodeEncodeError: The id is not valid Unicode.
        """
        return hmac.digest(self._secret, sample_id.encode(), hashlib.sha256)[:16]


def owner_of(salt: str, user_id: str) -> str:
    """The keyed hash that a user's row is found by, in hexadecimal.

    Raises:
        TrimtabError: The id is empty, not a text, or not valid Unicode.
    """
    name = checked_id(user_id).encode()
    return hmac.new(bytes.fromhex(salt), name, hashlib.sha256).hexdigest()[:32]


def checked_id(user_id: str) -> str:
    """The id as it is.

    Raises:
        TrimtabError: It is empty, not a text, or not valid Unicode.
    """
    try:
        if user_id and user_id.encode():
            return user_id
    except (AttributeError, UnicodeEncodeError):
        pass
    raise TrimtabError(f"expected a user id, a text that is not empty; got {user_id!r}")
