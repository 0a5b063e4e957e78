"""The admin's history keeps nobody's name who was erased."""

import pytest
from django.contrib.admin.models import CHANGE, LogEntry

from crm import privacy
from crm.models import Profile

pytestmark = pytest.mark.django_db


def test_an_erased_person_has_no_name_in_the_history(admin_user):
    ann, bob = Profile.objects.create(first_name="Ann"), Profile.objects.create(first_name="Bob")
    for profile in (ann, bob):
        LogEntry.objects.log_actions(admin_user.pk, [profile], CHANGE, "", single_object=True)
    privacy.erase([ann.pk], "request")
    assert not LogEntry.objects.filter(object_repr__contains="Ann").exists()
    assert set(LogEntry.objects.values_list("object_id", "object_repr")) == {
        (str(ann.pk), "profile_erased"),
        (str(bob.pk), "Bob"),
    }
