"""The product's own secrets: made on first start, kept in the data folder, replaceable by the environment."""

import base64
import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from config import folder


@dataclass(frozen=True, slots=True)
class Secrets:
    """`encryption_keys` are Fernet keys: the first encrypts, every one decrypts."""

    django_secret_key: str
    encryption_keys: tuple[str, ...]


def load(data_dir: Path, django_secret_key: str = "", encryption_key: str = "") -> Secrets:
    """Return the secrets, creating `data_dir/secrets.json` (mode 600) when something has to come from it.

    Args:
        data_dir: the folder for run-time files; created when missing.
        django_secret_key: replaces the kept one when not empty.
        encryption_key: replaces the kept one when not empty; several keys are separated by commas, the
            newest first, so that a key can be changed without losing what the old one encrypted.

    Raises:
        ImproperlyConfigured: the folder cannot be written, the file is damaged, or a key is no Fernet key.
    """
    if django_secret_key and encryption_key:
        return Secrets(django_secret_key, _fernet_keys(encryption_key, "NUDGE_ENCRYPTION_KEY"))
    path = data_dir / "secrets.json"
    kept = _read(path) if path.exists() else _create(path)
    source = "NUDGE_ENCRYPTION_KEY" if encryption_key else str(path)
    return Secrets(
        django_secret_key or kept["django_secret_key"],
        _fernet_keys(encryption_key or kept["encryption_key"], source),
    )


def _create(path: Path) -> dict[str, str]:
    """Write new secrets, unless another process was faster: then return what that one wrote."""
    folder.prepare(path.parent)
    fresh = {
        "django_secret_key": secrets.token_urlsafe(48),
        "encryption_key": Fernet.generate_key().decode(),
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent / "run", prefix="secrets-")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(fresh, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        # A hard link appears whole or not at all, and fails if the name is taken: exactly one writer wins.
        os.link(temporary, path)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        Path(temporary).unlink()
    return fresh


def _read(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text())
        return {name: str(kept[name]) for name in ("django_secret_key", "encryption_key")}
    except OSError as error:
        raise ImproperlyConfigured(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ImproperlyConfigured(
            f"{path} is damaged; restore it from a backup, because stored credentials need its key."
        ) from error


def _fernet_keys(text: str, source: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    for key in keys:
        try:
            valid = len(base64.urlsafe_b64decode(key)) == 32
        except ValueError:
            valid = False
        if not valid:
            raise ImproperlyConfigured(f"{source} holds no Fernet key: 32 bytes in URL-safe base64.")
    if not keys:
        raise ImproperlyConfigured(f"{source} holds no encryption key.")
    return keys
