"""Model fields that encrypt at rest."""

import json

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class DecryptionError(Exception):
    """A stored secret can't be read with the present encryption key. Restore the key or enter the secret anew."""


class Unreadable(dict):
    """A stored object that can't be read: it looks empty, so that it can be entered anew, and is never stored."""


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.NUDGE_ENCRYPTION_KEYS])


class EncryptedJSONField(models.TextField):
    """A JSON value kept as a Fernet token; the first key of NUDGE_ENCRYPTION_KEYS writes, all of them read."""

    def get_prep_value(self, value):
        if value is None:
            return None
        if isinstance(value, Unreadable):
            raise DecryptionError(DecryptionError.__doc__)
        return _cipher().encrypt(json.dumps(value).encode()).decode()

    def from_db_value(self, value, expression, connection):
        if value is None:
            return None
        try:
            return json.loads(_cipher().decrypt(value.encode()))
        except InvalidToken as error:
            if self.default is dict:
                return Unreadable()
            raise DecryptionError(DecryptionError.__doc__) from error

    def value_to_string(self, obj):
        return self.get_prep_value(self.value_from_object(obj))
