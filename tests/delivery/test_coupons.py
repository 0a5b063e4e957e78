"""Coupon codes: one person one code, one code one person, and what is left."""

import io
import threading
import uuid
from datetime import UTC, datetime, timedelta

import openpyxl
import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from crm import log, merging, unmerging
from crm.models import Alert, Profile, ProfileMerge
from delivery import coupons
from delivery.models import CouponCode, CouponPool
from tests.crm.concurrently import run
from tests.reading import drain

NOW = datetime(2026, 5, 4, 10, tzinfo=UTC)


@pytest.fixture
def pool(db):
    return CouponPool.objects.create(slug="welcome", name="Welcome", low_mark=3)


def people(number):
    return [profile.pk for profile in Profile.objects.bulk_create(Profile() for _ in range(number))]


def give(pool, ids, word="x"):
    return coupons.give(pool, [(pk, f"{word}:{pk}") for pk in ids], NOW)


def used(profile_id, code, name="purchase", days=1):
    at = NOW + timedelta(days=days)
    event = log.LoggedEvent(uuid.uuid4(), 1, 1, profile_id, name, at, at, {"coupon": code}, "test")
    coupons.redeem([event], CouponPool.objects.all())


@pytest.mark.django_db(transaction=True)
class TestWorkers:
    def test_eight_at_once_give_no_code_twice_and_nobody_two(self, pool):
        """Of 200 people each is asked for by two workers; there are 10 codes too few."""
        ids = people(200)
        assert coupons.generate(pool, 190) == 190
        shares = [ids[n * 50 : n * 50 + 50] * 1 for n in range(4)]

        def worker(number):
            given = {}
            share = shares[number % 4]
            for start in range(0, 50, 10):
                given |= give(pool, share[start : start + 10][:: 1 if number < 4 else -1], f"w{number}")
            return given

        results = run(*(lambda number=number: worker(number) for number in range(8)))
        rows = list(CouponCode.objects.exclude(profile=None).values_list("profile_id", "code"))
        assert len(rows) == len({pk for pk, _ in rows}) == len({code for _, code in rows}) == 190
        for result in results:
            assert result.items() <= set(rows)
        assert len({pk for result in results for pk in result}) == 190

    def test_a_code_in_another_workers_hands_is_neither_waited_for_nor_given(self, pool):
        ann, bob = people(2)
        coupons.add(pool, ["A", "B"])
        held, done = threading.Event(), threading.Event()

        def first():
            with transaction.atomic():
                code = give(pool, [ann])
                held.set()
                assert done.wait(20)
                return code

        def second():
            try:
                assert held.wait(20)
                with transaction.atomic(), connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '5s'")
                    return give(pool, [bob])
            finally:
                done.set()

        assert run(first, second) == [{ann: "A"}, {bob: "B"}]


class TestGiving:
    def test_the_same_person_gets_the_same_code_again(self, pool):
        ann, bob = people(2)
        coupons.add(pool, ["A", "B", "C"])
        assert give(pool, [ann, ann]) == give(pool, [ann], "another run") == {ann: "A"}
        assert coupons.held(pool, [ann, bob]) == {ann: "A"}
        assert give(pool, [ann, bob]) == {ann: "A", bob: "B"}
        assert coupons.left(pool) == 1

    def test_the_number_of_queries_does_not_grow(self, pool):
        ids = people(40)
        coupons.generate(pool, 60)
        counts = []
        for some in (ids[:1], ids[1:]):
            with CaptureQueriesContext(connection) as captured:
                assert len(give(pool, some)) == len(some)
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 4

    def test_an_empty_or_expired_pool_gives_nothing(self, pool):
        ann, bob = people(2)
        coupons.add(pool, ["A"])
        assert give(pool, [ann, bob]) == {ann: "A"}
        pool.expires_at = NOW
        assert give(pool, [ann]) == {}

    def test_one_code_for_everybody(self, db):
        pool = CouponPool.objects.create(slug="f", name="F", kind="fixed", code="SPRING")
        ids = people(3)
        assert give(pool, ids[:2]) == dict.fromkeys(ids[:2], "SPRING")
        assert give(pool, ids) == dict.fromkeys(ids, "SPRING")
        assert CouponCode.objects.count() == 3
        used(ids[0], "SPRING")
        used(ids[1], "AUTUMN")
        assert coupons.levels([pool])[pool.pk] == coupons.Level(left=0, given=3, used=1)

    def test_a_merge_keeps_what_was_given_and_its_undoing_gives_it_back(self, pool):
        ann, visitor = people(2)
        coupons.add(pool, ["A", "B", "C"])
        give(pool, [ann, visitor])
        merging.merge([(visitor, ann)], "test", NOW)
        assert set(CouponCode.objects.filter(profile=ann).values_list("code", flat=True)) == {"A", "B"}
        assert give(pool, [ann], "again") == {ann: "A"}
        unmerging.undo(ProfileMerge.objects.get().pk, NOW)
        assert coupons.held(pool, [ann, visitor]) == {ann: "A", visitor: "B"}

    def test_who_is_deleted_takes_the_code_along(self, pool):
        ann, bob = people(2)
        coupons.add(pool, ["A"])
        give(pool, [ann])
        Profile.objects.filter(pk=ann).delete()
        assert give(pool, [bob]) == {}


class TestLevels:
    def test_an_alert_tells_of_few_and_of_none_and_goes_by_itself(
        self, pool, django_capture_on_commit_callbacks
    ):
        def hand_out(ids):
            with django_capture_on_commit_callbacks(execute=True):
                give(pool, ids)

        ids = people(4)
        coupons.add(pool, "ABCD")
        hand_out(ids[:1])
        assert not Alert.objects.filter(resolved_at=None).exists()
        hand_out(ids[1:2])
        assert "2" in Alert.objects.get(resolved_at=None).title
        hand_out(ids[2:])
        assert Alert.objects.get(resolved_at=None).title.startswith("No coupon codes")
        coupons.add(pool, "EFGHI")
        assert not Alert.objects.filter(resolved_at=None).exists()

    def test_codes_are_taken_once_and_bad_ones_are_named(self, pool):
        done = coupons.add(pool, [" A ", "B", "", "A", "has space", "x" * 101, "B"])
        assert (done.added, done.known, done.refused) == (2, 2, 2)
        assert [row for row, _why in done.reasons] == [5, 6]
        assert coupons.add(pool, ["A", "C"]).known == 1

    def test_made_codes_are_hard_to_guess_and_to_mistake(self, pool):
        assert coupons.generate(pool, 20, "HI-", 8) == 20
        codes = list(CouponCode.objects.values_list("code", flat=True))
        assert all(code.startswith("HI-") and set(code[3:]) <= set(coupons.ALPHABET) for code in codes)
        for wrong in (
            (0, "", 10),
            (1, "", 7),
            (1, "a b", 10),
            (1, "x" * 95, 10),
            (coupons.MOST_MADE + 1, "", 10),
        ):
            with pytest.raises(ValueError, match=r"\w"):
                coupons.generate(pool, *wrong)


class TestUse:
    @pytest.mark.django_db(transaction=True)
    def test_the_log_is_read_for_the_events_of_all_pools(self, pool):
        [ann] = people(1)
        drain(coupons.CURSOR, coupons.read)
        coupons.add(pool, ["A"])
        give(pool, [ann])
        log.append(
            [
                log.NewEvent(uuid.uuid4(), ann, name, NOW, {"coupon": "A"}, "test")
                for name in ("other", "purchase")
            ]
        )
        drain(coupons.CURSOR, coupons.read)
        assert CouponCode.objects.get().redeemed_at == NOW

    def test_events_tell_which_codes_were_used_the_first_time_counts(self, pool):
        ann, bob = people(2)
        coupons.add(pool, ["A", "B", "C"])
        give(pool, [ann])
        used(bob, "A", name="refund")
        assert coupons.levels([pool])[pool.pk].used == 0
        used(bob, ["x", "A"])
        used(ann, "A", days=2)
        assert CouponCode.objects.get(code="A").redeemed_at == NOW + timedelta(days=1)
        used(bob, "B")  # leaked before it was given
        assert give(pool, [bob]) == {bob: "C"}
        assert coupons.levels([pool])[pool.pk] == coupons.Level(left=0, given=3, used=2)


def _workbook(rows):
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


class TestAdmin:
    def test_a_pool_is_made_and_filled_in_each_way(self, client, db):
        client.force_login(User.objects.create_superuser("root"))
        fields = {"name": "Spring", "slug": "spring", "low_mark": 5, "event_name": "purchase"}
        fields |= {"event_property": "coupon", "kind": "unique", "code": ""}
        fields |= {"expires_at_0": "", "expires_at_1": ""}
        answer = client.post("/admin/delivery/couponpool/add/", fields)
        pool = CouponPool.objects.get()
        page = f"/admin/delivery/couponpool/{pool.pk}/codes/"
        assert (answer.status_code, answer["Location"]) == (302, page)
        assert client.get(page).status_code == 200
        assert client.post(page, {"how": "make", "number": 3, "length": 9, "prefix": "S-"}).status_code == 302
        assert client.post(page, {"how": "paste", "pasted": "A\nB\n"}).status_code == 302
        file = SimpleUploadedFile("codes.csv", "\ufeffC,x\nD\nbad code\nA\n".encode())
        answer = client.post(page, {"how": "file", "file": file})
        assert "3: A code holds no spaces" in answer.content.decode()
        assert CouponCode.objects.count() == 7
        assert "fill" in client.post(page, {"how": "paste"}).content.decode().lower()
        listed = client.get("/admin/delivery/couponpool/").content.decode()
        assert "Spring" in listed
        assert ">7<" in "".join(listed.split())
        assert "7 left" in client.get(f"/admin/delivery/couponpool/{pool.pk}/change/").content.decode()
        codes = client.get("/admin/delivery/couponcode/?q=A").content.decode()
        assert 'dir="ltr">A<' in codes

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("codes.csv", b"Discount name,Code,Value\nSpring,A-1,10\nSpring,A-2,10\n"),
            ("codes.csv", "Code;Value\r\nA-1;10\r\nA-2;10\r\n".encode("utf-16")),
            ("codes.txt", b"A-1\nA-2"),
            ("codes.csv", b'"A-1",10,10\n"A-2",10,10\n'),
            ("codes.xlsx", _workbook([["Coupon code", "Used"], ["A-1", None], [None, None], ["A-2", 3]])),
        ],
    )
    def test_files_are_read_as_shops_and_spreadsheets_write_them(self, client, pool, name, content):
        client.force_login(User.objects.create_superuser("root"))
        page = f"/admin/delivery/couponpool/{pool.pk}/codes/"
        answer = client.post(page, {"how": "file", "file": SimpleUploadedFile(name, content)})
        assert answer.status_code == 302, answer.content.decode()
        assert set(CouponCode.objects.values_list("code", flat=True)) == {"A-1", "A-2"}

    def test_a_file_that_is_no_table_is_told(self, client, pool):
        client.force_login(User.objects.create_superuser("root"))
        page = f"/admin/delivery/couponpool/{pool.pk}/codes/"
        for name, content, told in (
            ("codes.xlsx", b"A-1", "not an Excel workbook"),
            ("codes.csv", _workbook([["A-1"]]), "has to end in .xlsx"),
            ("codes.csv", "Kód\nABĆ\n".encode("cp1250"), "save the file as UTF-8"),
        ):
            answer = client.post(page, {"how": "file", "file": SimpleUploadedFile(name, content)})
            assert told in answer.content.decode()
        assert not CouponCode.objects.exists()

    def test_a_fixed_pool_needs_its_code_and_only_who_may_adds_any(self, client, pool):
        client.force_login(User.objects.create_superuser("root"))
        fields = {"name": "F", "slug": "f", "low_mark": 5, "event_name": "purchase", "kind": "fixed"}
        fields |= {"event_property": "coupon", "code": " ", "expires_at_0": "", "expires_at_1": ""}
        assert client.post("/admin/delivery/couponpool/add/", fields).status_code == 200
        assert client.post("/admin/delivery/couponpool/add/", fields | {"code": "X"}).status_code == 302
        assert CouponPool.objects.get(slug="f").code == "X"
        client.force_login(User.objects.create(username="reader", is_staff=True))
        page = f"/admin/delivery/couponpool/{pool.pk}/codes/"
        assert client.post(page, {"how": "paste", "pasted": "A"}).status_code == 403
        assert not CouponCode.objects.exists()
