"""Dividing people by chance, always the same way: nothing is stored, and any process comes to the same answer."""

import hashlib


def place(profile_id: int, *salt: str) -> float:
    """Where somebody stands between 0 and 100, evenly spread; places under different salts have nothing in common.

    Args:
        salt: what is being divided, such as a flow's slug and a step's key.
    """
    told = "\x1f".join([*salt, str(profile_id)]).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big") / 2**64 * 100
