"""An analyst walks through the whole admin and sees nobody's contact data, whatever page was added last.

Every page there is a URL for is opened: lists, single things, histories, exports and pages of their own. What needs an
argument gets the number of something that exists.
"""

import re
import uuid

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import models
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from crm import log
from crm.models import AuditEntry, Connection, Identifier, Profile, ProfileMerge, Suppression, SyncReject
from delivery.models import Delivery
from tests.crm.privacy import rows

pytestmark = pytest.mark.django_db

EMAIL, PHONE, NUMBER, SURNAME = "grace.hopper@navy.example", "+48601234567", "CUST-778899", "Quixotehopper"
SECOND = "amazing.grace@home.example"
TOLD = (EMAIL, PHONE, PHONE[1:], NUMBER, SURNAME, SECOND, "198.51.100.77")
# Pages that end the session, or are the theme's own.
LEFT_OUT = {"logout", "password_change", "password_change_done", "jsi18n", "autocomplete", "view_on_site"}


@pytest.fixture
def person() -> Profile:
    """Somebody whose contact data are in every table."""
    profile = Profile.objects.create(
        email=EMAIL,
        phone=PHONE,
        external_id=NUMBER,
        first_name="Grace",
        last_name=SURNAME,
        attributes={"second": SECOND, "plan": "gold"},
        sources={"email": ["api", "2026-01-01T00:00:00Z"]},
    )
    told = {"note": f"call {PHONE}", "email": SECOND, "customer_id": NUMBER, "ip": "198.51.100.77"}
    for label, row in rows.make(profile).items():
        if label in ("crm.erasedname", "crm.consentchange"):
            continue
        for field in row._meta.concrete_fields:
            if isinstance(field, models.JSONField) and label not in ("crm.writtenrecord", "crm.event"):
                setattr(row, field.name, told if label != "crm.identityconflict" else [["email", EMAIL]])
        if label != "crm.event":
            row.save()
    for kind, value in (("email", EMAIL), ("phone", PHONE), ("external_id", NUMBER)):
        Identifier.objects.create(kind=kind, value=value, profile=profile)
    rows.crm_record(profile)
    log.append([log.NewEvent(uuid.uuid4(), profile.pk, "ordered", rows.NOW, told, "api")])
    Delivery.objects.filter(profile=profile).update(
        content={"title": f"Hello {EMAIL}", "body": PHONE}, reason=f"550 5.1.1 <{EMAIL}> unknown, nor {PHONE}"
    )
    ProfileMerge.objects.filter(winner=profile).update(snapshot={"email": SECOND, "phone": PHONE})
    SyncReject.objects.create(
        connection_id=_connection(),
        object="people",
        record_id="9",
        code="x",
        detail=EMAIL,
        raw=told,
    )
    Suppression.objects.create(channel="email", address=EMAIL, reason="bounced")
    return profile


def _connection() -> int:
    return Connection.objects.get(slug="crm").pk


@pytest.fixture
def analyst() -> Client:
    """Somebody in the role as it is delivered."""
    user = User.objects.create(username="analyst", is_staff=True)
    user.groups.add(Group.objects.get(name="Analyst"))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def _patterns(resolver: URLResolver, prefix: str = "") -> list[tuple[str, URLPattern]]:
    found = []
    for each in resolver.url_patterns:
        route = prefix + str(each.pattern)
        found += _patterns(each, route) if isinstance(each, URLResolver) else [(route, each)]
    return found


def _addresses() -> list[str]:
    """Every address of the admin, with arguments filled in by what there is."""
    addresses = set()
    for route, pattern in _patterns(get_resolver()):
        if not route.startswith("admin/") or pattern.name in LEFT_OUT or "final_catch_all" in str(pattern):
            continue
        plain = route.replace("^", "").replace("$", "").replace("\\Z", "")
        if "(?P" in plain:
            continue
        model = _model(route)
        first = (model or Profile)._default_manager.order_by("pk").first()
        value = str(first.pk) if first else "1"
        addresses.add("/" + re.sub(r"<(?:\w+:)?\w+>", value, plain))
    return sorted(addresses)


def _model(route: str) -> type[models.Model] | None:
    for model in admin.site._registry:
        if route.startswith(f"admin/{model._meta.app_label}/{model._meta.model_name}/"):
            return model
    return None


def _told(response) -> list[str]:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    text = content.decode(errors="replace")
    return [told for told in TOLD if told in text]


def test_no_page_tells_contact_data(person, analyst, admin_client):
    addresses = _addresses()
    assert len(addresses) > 100
    page = reverse("admin:crm_profile_change", args=[person.pk])
    assert EMAIL in admin_client.get(page).content.decode()
    seen, leaks, errors = 0, {}, []
    for address in addresses:
        response = analyst.get(address)
        seen += response.status_code == 200
        if response.status_code >= 500:
            errors.append(address)
        elif told := _told(response):
            leaks[address] = told
    assert leaks == {}
    assert errors == []
    assert seen > 40
    assert "Grace Q." in analyst.get(page).content.decode()


@pytest.mark.parametrize(
    "query",
    [
        *(f"q={value}" for value in ("grace.hopper", "%2B48601234567", "CUST-778899", "Quixotehopper")),
        *(f"{field}__startswith=g" for field in ("email", "last_name", "external_id")),
        "attributes__second=x",
        "identifiers__value=x",
    ],
)
def test_nothing_is_found_out_by_asking(query, person, analyst, admin_client):
    other = Profile.objects.create(first_name="Alan")
    address = reverse("admin:crm_profile_changelist")

    def listed() -> set[str]:
        text = analyst.get(f"{address}?{query}").content.decode()
        return {str(pk) for pk in (person.pk, other.pk) if f"/crm/profile/{pk}/change/" in text}

    right = listed()
    Profile.objects.filter(pk=person.pk).update(
        email="x@x.example", external_id="9", last_name="X", attributes={}
    )
    Identifier.objects.filter(profile=person).delete()
    assert listed() == right


def _rule(field: str, value: str) -> dict:
    """One condition, as the segment builder's page posts it."""
    return {
        "node": ["n0", "n1"],
        "n0.kind": "group",
        "n1.kind": "attribute",
        "n1.parent": "n0",
        "n1.field": field,
        "n1.op": "eq",
        "n1.value": value,
    }


def test_no_rule_tells_contact_data(person, analyst, admin_client):
    preview, explain, edit = (
        reverse(f"admin:campaigns_segment_{name}") for name in ("preview", "explain", "edit")
    )
    for asked in (_rule("email", EMAIL), _rule("attributes.second", SECOND), _rule("last_name", SURNAME)):
        assert analyst.post(preview, asked).status_code == 403
        assert analyst.post(explain, {**asked, "who": str(person.pk)}).status_code == 403
        assert admin_client.post(preview, asked).status_code == 200
    Profile.objects.filter(pk=person.pk).update(attributes={"contact": SECOND})
    told = {**_rule("attributes.contact", ""), "n1.op": "is_set", "who": str(person.pk)}
    assert SECOND in admin_client.post(explain, told | {"who": f"#{person.pk}"}).content.decode()
    assert "a•••@h•••.example" in analyst.post(explain, told).content.decode()
    Profile.objects.filter(pk=person.pk).update(attributes={"second": SECOND})
    cache.clear()  # of what was found in the data before
    harmless = _rule("country", "GB")
    assert analyst.post(preview, harmless).status_code == 200
    by_name, by_stranger = (
        analyst.post(explain, {**harmless, "who": who}).content.decode().replace(who, "")
        for who in (EMAIL, "nobody@x.example")
    )
    assert by_name == by_stranger
    assert "Grace" in analyst.post(explain, {**harmless, "who": str(person.pk)}).content.decode()
    assert SECOND in admin_client.post(edit, _rule("attributes.second", "")).content.decode()
    assert SECOND not in analyst.post(edit, _rule("attributes.second", "")).content.decode()


def test_the_order_tells_nothing(person, analyst):
    Profile.objects.create(first_name="Alan", email="aaa@example.com")
    address = reverse("admin:crm_profile_changelist")
    assert (
        _order(analyst, f"{address}?o=1.2")
        == _order(analyst, f"{address}?o=-1.-2")
        == _order(analyst, address)
    )


def _order(client: Client, address: str) -> list[str]:
    return re.findall(r"/crm/profile/(\d+)/change/", client.get(address).content.decode())


def test_one_is_found_by_our_number(person, analyst):
    address = reverse("admin:crm_profile_changelist")
    assert _order(analyst, f"{address}?q={person.pk}")


def test_who_sees_contact_data_finds_people_and_that_is_recorded(person, admin_client):
    address = reverse("admin:crm_profile_changelist")
    assert _order(admin_client, f"{address}?q=grace.hopper")
    admin_client.get(reverse("admin:crm_profile_change", args=[person.pk]))
    entries = AuditEntry.objects.filter(action__startswith="profile.").order_by("pk")
    assert [(entry.action, entry.object_id) for entry in entries] == [
        ("profile.searched", ""),
        ("profile.viewed", str(person.pk)),
    ]
    assert "grace" not in str(list(AuditEntry.objects.values()))
