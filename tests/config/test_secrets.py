import json
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from config import secrets


def _key_of(folder: Path) -> str:
    return secrets.load(folder).django_secret_key


class TestLoad:
    def test_creates_secrets_once_and_keeps_them(self, tmp_path):
        first = secrets.load(tmp_path / "data")

        assert secrets.load(tmp_path / "data") == first
        assert len(first.django_secret_key) >= 50
        Fernet(first.encryption_keys[0])

    def test_only_the_owner_can_read_them(self, tmp_path):
        secrets.load(tmp_path)

        assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600

    def test_processes_that_start_at_once_agree(self, tmp_path):
        with ProcessPoolExecutor(4) as pool:
            assert len(set(pool.map(_key_of, [tmp_path / "data"] * 16))) == 1

    def test_given_values_replace_kept_ones_and_write_nothing(self, tmp_path):
        newer, older = Fernet.generate_key().decode(), Fernet.generate_key().decode()

        loaded = secrets.load(tmp_path / "data", "chosen", f"{newer}, {older}")

        assert loaded == secrets.Secrets("chosen", (newer, older))
        assert not (tmp_path / "data").exists()

    def test_one_given_value_leaves_the_other_kept(self, tmp_path):
        kept = secrets.load(tmp_path)

        assert secrets.load(tmp_path, django_secret_key="x") == secrets.Secrets("x", kept.encryption_keys)

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"django_secret_key": "x"'])
    def test_a_damaged_file_is_named_and_never_replaced(self, tmp_path, content):
        path = tmp_path / "secrets.json"
        path.write_text(content)

        with pytest.raises(ImproperlyConfigured, match="secrets.json is damaged"):
            secrets.load(tmp_path)
        assert path.read_text() == content

    @pytest.mark.parametrize("key", ["short", "é" * 44, "!" * 44])
    def test_a_wrong_encryption_key_is_one_sentence(self, tmp_path, key):
        with pytest.raises(ImproperlyConfigured, match="NUDGE_ENCRYPTION_KEY holds no Fernet key"):
            secrets.load(tmp_path, encryption_key=key)

    def test_a_wrong_key_in_the_file_names_the_file(self, tmp_path):
        (tmp_path / "secrets.json").write_text(json.dumps({"django_secret_key": "x", "encryption_key": "y"}))

        with pytest.raises(ImproperlyConfigured, match="secrets.json holds no Fernet key"):
            secrets.load(tmp_path)
