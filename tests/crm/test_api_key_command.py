"""`manage.py api_key`: a script takes what it prints as the key."""

import io

import pytest
from django.core.management import CommandError, call_command

from crm import api_keys


def run(*arguments):
    out = io.StringIO()
    call_command("api_key", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
class TestApiKey:
    def test_create_prints_the_key_and_nothing_else(self):
        text = run("create", "shop", "--scope", "read", "--scope", "write")
        assert text.endswith("\n")
        assert text.count("\n") == 1
        key = api_keys.find(text.strip())
        assert (key.name, key.scopes) == ("shop", ["read", "write"])

    def test_a_browser_key_has_sites(self):
        text = run(
            "create", "web", "--scope", "browser", "--origin", "https://a.example", "--origin", "http://b:81"
        )
        assert text.startswith("pk_")
        assert api_keys.find(text.strip()).allowed_origins == ["https://a.example", "http://b:81"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "required"),
            (("create", "x"), "--scope"),
            (("create", "x", "--scope", "admin"), "invalid choice"),
            (("create", "x", "--scope", "read", "--scope", "browser"), "any other scope"),
            (("create", "x", "--scope", "browser", "--origin", "shop"), "not a site"),
            (("create", " ", "--scope", "read"), "name"),
            (("create", "taken", "--scope", "read"), "already"),
            (("revoke", "nobody"), "no key in force"),
        ],
    )
    def test_mistakes_get_a_sentence(self, arguments, message):
        run("create", "taken", "--scope", "read")
        with pytest.raises(CommandError, match=message):
            run(*arguments)

    def test_list_shows_no_secret(self):
        text = run("create", "shop", "--scope", "read").strip()
        listed = run("list")
        assert "shop\t" in listed
        assert text not in listed

    def test_revoke(self):
        text = run("create", "shop", "--scope", "read").strip()
        run("revoke", "shop")
        assert api_keys.find(text) is None
        assert "revoked" in run("list")
        with pytest.raises(CommandError):
            run("revoke", "shop")
