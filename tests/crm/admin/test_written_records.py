"""What CRMs refused to have written into them."""

import pytest

from crm.models import Connection, Profile, SyncRun, WrittenRecord
from tests.crm.admin.pages import page, text_of

pytestmark = pytest.mark.django_db
LIST = "/admin/crm/writtenrecord/"


@pytest.fixture
def refused():
    mapping = {"contacts": {"write": {"nudge_opens": "opens"}}}
    connection = Connection.objects.create(kind="hubspot", name="Shop", slug="shop", mapping=mapping)
    person = Profile.objects.create(first_name="Ann")
    for number, error in ((1, ""), (2, "<b>No such field.</b>")):
        WrittenRecord.objects.create(
            connection=connection,
            object="contacts",
            record_id=str(number),
            profile_id=person.pk,
            values={"nudge_opens": 1},
            error=error,
        )
    return WrittenRecord.objects.get(record_id="2")


def test_the_health_page_leads_to_the_reasons(refused, admin_client):
    panel = text_of(admin_client.get(page("panel", refused.connection_id)))
    assert "1 record of the CRM refused what was written back." in panel
    listed = admin_client.get(LIST, {"connection__id__exact": refused.connection_id}).content.decode()
    assert "contacts 2" in listed
    assert "contacts 1" not in listed
    assert "&lt;b&gt;No such field." in listed
    assert admin_client.get(f"{LIST}{refused.pk}/change/").status_code == 200


def test_they_are_written_again_on_request_by_who_may(refused, admin_client, staff):
    act = {"action": "write_again", "_selected_action": [refused.pk]}
    staff("view_writtenrecord").post(LIST, act)
    assert not SyncRun.objects.exists()
    admin_client.post(LIST, act)
    refused.refresh_from_db()
    assert refused.due_at
    assert SyncRun.objects.get().state == "queued"


def test_without_permission_nothing(refused, staff):
    assert staff().get(LIST).status_code == 403
