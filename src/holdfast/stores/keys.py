"""Ed25519 keys: the private one in a file of its owner's, the public one as base64.

``cryptography`` is imported when a key is first used: most commands need none.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from holdfast.values.errors import Corrupt, Misuse, NotFound, Outside


class SigningKey:
    """A private key. ``public`` is its public half, base64 of 32 bytes."""

    def __init__(self, path: Path) -> None:
        """Read the key at ``path`` (PEM, PKCS #8). `NotFound`, `Corrupt`, or `Misuse` if others may
        read it."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        # INVARIANT J54: a private key that others may read is not used
        try:
            if path.stat().st_mode & 0o077:
                raise Misuse(f"{path}: others may read this key: chmod 600 {path}")
            text = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(
                f"{path}: there is no key; `holdfast audit key FILE` makes one"
            ) from None
        except OSError as error:
            raise Outside(f"{path}: cannot be read: {error.strerror}") from None
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError):
            raise Corrupt(f"{path}: is not an Ed25519 key in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise Corrupt(f"{path}: is not an Ed25519 key")
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> str:
        """The signature of ``message``, base64."""
        return base64.b64encode(self._key.sign(message)).decode()


def make_key(path: Path) -> SigningKey:
    """Make a key at ``path``, which only its owner may read; `Misuse` if there is something."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    text = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(opened, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Misuse(f"{path}: is there already, and a key is never overwritten") from None
    except OSError as error:
        raise Outside(f"{path}: cannot be written: {error.strerror}") from None
    return SigningKey(path)


def read_public(text: str) -> str:
    """The public key that ``text`` is, or that stands in the file it names; `Misuse`."""
    said = text.strip()
    if _raw(said) is None:
        try:
            said = Path(text).read_text("ascii").strip()
        except (OSError, ValueError):
            said = ""
    if _raw(said) is None:
        raise Misuse(
            f"{text[:80]!r}: is neither a public key (44 characters of base64) nor a file with one"
        )
    return said


def _raw(text: str) -> bytes | None:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == 32 else None


def verify(public: str, text: bytes, signature: str) -> bool:
    """Whether ``signature`` (base64) is that of ``text`` by the owner of ``public``."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = _raw(public)
    if key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            base64.b64decode(signature, validate=True), text
        )
    except (InvalidSignature, ValueError):
        return False
    return True
