"""Encryption of web push messages (RFC 8291, aes128gcm)."""

from pywebpush import WebPusher

MAX_PLAINTEXT = 3993  # bytes: 4096 of body less the header of 86 and the tag with its delimiter of 17


class BadKeys(ValueError):
    """The keys of a subscription can't be used."""


def encrypt(plaintext: bytes, p256dh: str, auth: str) -> bytes:
    """Return the body of a push: header, then `plaintext` encrypted for one subscription.

    Args:
        plaintext: at most MAX_PLAINTEXT bytes.
        p256dh: the browser's public key, base64url.
        auth: the browser's 16-byte secret, base64url.

    Raises:
        BadKeys: the keys are no keys.
    """
    try:
        pusher = WebPusher({"endpoint": "", "keys": {"p256dh": p256dh, "auth": auth}})
        body: bytes = pusher.encode(plaintext, content_encoding="aes128gcm")["body"]
    except Exception as error:  # pywebpush, http_ece and cryptography each raise their own kinds
        raise BadKeys(f"{BadKeys.__doc__} {type(error).__name__}") from error
    return body
