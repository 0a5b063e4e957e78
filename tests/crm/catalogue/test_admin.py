"""Products and places in the admin."""

from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from crm import catalogue
from crm.admin.places import point
from crm.models import CatalogueSettings, PersonPlace, Place, Product, ProductChange, ProductInterest, Profile

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def cup():
    for minutes, price in enumerate((10, 8, 9)):
        patch = catalogue.patch({"sku": "CUP", "name": "Cup", "price": price, "currency": "EUR", "stock": 0})
        catalogue.upsert([patch], "test", NOW + timedelta(minutes=minutes))
    return Product.objects.get()


def viewer(client, *codenames):
    user = User.objects.create_user("viewer", "", "pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return client


class TestProducts:
    def test_the_page_tells_prices_and_who_waits(self, admin_client, cup, django_assert_max_num_queries):
        url = reverse("admin:crm_product_change", args=[cup.pk])
        for number in range(5):
            person = Profile.objects.create(first_name=f"Ann{number}")
            ProductInterest.objects.create(sku="CUP", profile=person, asked_at=NOW, viewed_at=NOW)
        admin_client.get(url)
        with django_assert_max_num_queries(16):
            page = admin_client.get(url).content.decode()
        for words in (
            "10.00 EUR → 8.00 EUR",
            "8.00 EUR → 9.00 EUR",
            'value="9"',
            "sold out",
            "Ann3",
            "<polyline",
        ):
            assert words in page
        assert page.count("asked, viewed") == 5

    def test_who_may_not_see_people_sees_numbers_only(self, client, cup):
        person = Profile.objects.create(first_name="Ann")
        ProductInterest.objects.create(sku="CUP", profile=person, asked_at=NOW)
        page = viewer(client, "view_product").get(reverse("admin:crm_product_change", args=[cup.pk]))
        assert "asked to be told" in page.content.decode()
        assert "Ann" not in page.content.decode()

    def test_a_change_by_hand_is_written_down_like_any_other(self, admin_client, cup):
        url = reverse("admin:crm_product_change", args=[cup.pk])
        form = {
            "name": "Cup",
            "category": "",
            "price": "7.50",
            "currency": "eur",
            "stock": "3",
            "active": "on",
        }
        answer = admin_client.post(url, {**form, "url": "", "image_url": "", "description": ""})
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        cup.refresh_from_db()
        assert (str(cup.price), cup.currency, cup.source) == ("7.5000", "EUR", "admin")
        change = ProductChange.objects.latest("pk")
        assert (change.was_in_stock, change.in_stock, change.told_at) == (False, True, None)
        add = reverse("admin:crm_product_add")
        assert "DatabaseDefault" not in admin_client.get(add).content.decode()
        answer = admin_client.post(add, {**form, "sku": "NEW", "url": "", "image_url": "", "description": ""})
        assert answer.status_code == 302
        assert Product.objects.get(sku="NEW").price == 7.5

    def test_settings_have_one_page(self, admin_client):
        url = reverse("admin:crm_cataloguesettings_changelist")
        answer = admin_client.get(url, follow=True)
        assert "product_viewed" in answer.content.decode()
        form = {
            "asked": "notify_me",
            "saved": "",
            "viewed": "product_viewed",
            "bought": "purchase",
            "properties": "sku, product_id",
            "lookback_days": "30",
            "least_drop": "10",
            "compare_days": "0",
            "quiet_days": "1",
        }
        answer = admin_client.post(answer.request["PATH_INFO"], form)
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        settings = CatalogueSettings.load()
        assert (settings.asked, settings.saved, settings.properties) == (
            ["notify_me"],
            [],
            ["sku", "product_id"],
        )


class TestPlaces:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("52.2497, 21.0122", (52.2497, 21.0122)),
            ("-33.86 151.2", (-33.86, 151.2)),
            ("geo:52.2,21.0?z=15", (52.2, 21.0)),
            ("https://maps.example/place/Shop/@52.2,21.0,17z", (52.2, 21.0)),
            ("https://maps.example/?q=52.2,21.0", (52.2, 21.0)),
            ("Main street 5", None),
            ("99.0, 10.0", None),
        ],
    )
    def test_coordinates_as_people_copy_them(self, text, expected):
        assert point(text) == expected

    def test_a_place_is_added_by_pasting_coordinates(self, admin_client):
        form = {
            "name": "Old Town",
            "slug": "old-town",
            "kind": "store",
            "active": "on",
            "coordinates": "52.2497, 21.0122",
            "radius": "150",
            "cooldown_minutes": "60",
            "attributes": "{}",
        }
        add = reverse("admin:crm_place_add")
        answer = admin_client.post(add, form)
        assert answer.status_code == 302, answer.context["adminform"].form.errors
        place = Place.objects.get()
        assert (place.latitude, place.longitude, place.source) == (52.2497, 21.0122, "admin")
        PersonPlace.objects.create(profile=Profile.objects.create(), place=place, inside=True, entered_at=NOW)
        change = reverse("admin:crm_place_change", args=[place.pk])
        assert "Europe/Warsaw" in admin_client.get(change).content.decode()
        answer = admin_client.post(change, {**form, "latitude": "50", "longitude": "20"})
        assert answer.status_code == 302
        place.refresh_from_db()
        assert (place.latitude, place.longitude) == (50, 20)
        listed = admin_client.get(reverse("admin:crm_place_changelist"))
        assert [row.inside for row in listed.context["cl"].result_list] == [1]

    def test_a_file_is_taken_row_by_row(self, admin_client):
        file = BytesIO(
            b"Name;Lat;Lon;Radius (m)\nOld Town;52.2;21;200\nNowhere;99;0;\n;1;1;\nNew Town;52.3;21;\n"
        )
        file.name = "stores.csv"
        page = admin_client.post(reverse("admin:crm_place_import"), {"file": file}).content.decode()
        assert "2 new, 0 changed, 0 as before." in page
        assert page.count('<th scope="row">') == 2
        assert sorted(Place.objects.values_list("slug", "radius")) == [("new-town", 150), ("old-town", 200)]
        file = BytesIO(b"a,b\n1,2\n")
        file.name = "x.csv"
        page = admin_client.post(reverse("admin:crm_place_import"), {"file": file}).content.decode()
        assert "latitude, longitude, name" in page

    def test_who_may_not_add_places_imports_none(self, client):
        assert viewer(client, "view_place").get(reverse("admin:crm_place_import")).status_code == 403
