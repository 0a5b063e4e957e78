import stat

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

pytestmark = pytest.mark.django_db


@pytest.fixture
def kept(settings, tmp_path):
    """The file of the random password, in a data folder of this test."""
    settings.NUDGE_DATA = tmp_path
    settings.NUDGE_ADMIN_PASSWORD = ""
    return tmp_path / "admin_password"


def _admin():
    return get_user_model().objects.get(username="admin")


class TestPrepare:
    def test_makes_an_admin_with_a_random_password(self, kept, capsys):
        call_command("prepare")

        assert _admin().is_superuser
        assert _admin().check_password(kept.read_text().strip())
        assert len(kept.read_text().strip()) >= 16
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert kept.read_text().strip() not in capsys.readouterr().out

    def test_running_again_changes_nothing(self, kept):
        call_command("prepare")
        before = (_admin().password, kept.read_text())
        call_command("prepare")

        assert (_admin().password, kept.read_text()) == before

    def test_a_start_that_ended_between_file_and_user_is_continued(self, kept):
        kept.write_text("written-by-the-first-try\n")
        call_command("prepare")

        assert _admin().check_password("written-by-the-first-try")

    def test_a_given_password_is_set_and_not_written_down(self, kept, settings):
        settings.NUDGE_ADMIN_PASSWORD = "given"
        call_command("prepare")

        assert _admin().check_password("given")
        assert not kept.exists()

        settings.NUDGE_ADMIN_PASSWORD = "another"
        call_command("prepare")
        assert _admin().check_password("another")

    def test_a_password_the_admin_changed_is_respected_and_the_note_removed(self, kept):
        call_command("prepare")
        admin = _admin()
        admin.set_password("chosen in the admin")
        admin.save()
        call_command("prepare")

        assert _admin().check_password("chosen in the admin")
        assert not kept.exists()
