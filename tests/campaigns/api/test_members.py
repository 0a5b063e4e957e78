"""Who is in, page by page."""

from datetime import timedelta

from campaigns.models import Segment, SegmentMembership, SegmentSize
from campaigns.segments import refresh
from crm.models import Profile


def names(answer):
    return [member["name"] for member in answer.json()["members"]]


def test_pages_of_members(reader, poles, people, django_assert_num_queries):
    first = reader.get("segments/poles/members/?limit=1")
    then = reader.get(f"segments/poles/members/?limit=1&cursor={first.json()['next_cursor']}")
    assert (names(first), names(then), then.json()["next_cursor"]) == (["ada"], ["bo"], None)
    assert first.json()["members"][0]["external_id"] == "C-ada"
    member = reader.get("segments/poles/members/?expand=profile").json()["members"][1]
    assert member["profile"]["email"] == "bo@example.com"
    with django_assert_num_queries(4):  # the key, the segment, the members, the people
        reader.get("segments/poles/members/")


def test_who_came_in_since(reader, poles, people):
    entered = SegmentMembership.objects.get(profile=people["ada"])
    SegmentMembership.objects.filter(profile=people["bo"]).update(
        entered_at=entered.entered_at - timedelta(days=1)
    )
    since = entered.entered_at.isoformat().replace("+", "%2B")
    assert names(reader.get(f"segments/poles/members/?entered_since={since}")) == ["ada"]
    both = (entered.entered_at - timedelta(days=2)).isoformat().replace("+", "%2B")
    first = reader.get(f"segments/poles/members/?entered_since={both}&limit=1")
    then = reader.get(f"segments/poles/members/?entered_since={both}&cursor={first.json()['next_cursor']}")
    assert (names(first), names(then)) == (["bo"], ["ada"])
    # A cursor belongs to its order.
    wrong = reader.get(f"segments/poles/members/?cursor={first.json()['next_cursor']}")
    assert wrong.json()["error"]["code"] == "invalid_cursor"


def test_the_segments_of_a_person(reader, poles, people):
    found = reader.get(f"profiles/{people['ada'].pk}/segments/").json()["segments"]
    assert [(row["slug"], row["name"], row["kind"]) for row in found] == [("poles", "Poles", "rule")]
    assert reader.get(f"profiles/{people['cy'].pk}/segments/").json()["segments"] == []
    assert reader.get("profiles/99999999999999999999/segments/").status_code == 404


def test_sizes_by_the_hour(reader, poles):
    SegmentSize.objects.filter(segment=poles).delete()
    for hour in range(3):
        moment = poles.created_at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hour)
        SegmentSize.objects.create(segment=poles, hour=moment, size=10 - hour, entered=1, departed=2)
    found = reader.get("segments/poles/history/?limit=2").json()
    assert [row["size"] for row in found["sizes"]] == [10, 9]
    rest = reader.get(f"segments/poles/history/?limit=2&cursor={found['next_cursor']}").json()["sizes"]
    assert [(row["size"], row["entered"], row["departed"]) for row in rest] == [(8, 1, 2)]
    last = found["sizes"][0]["hour"]
    assert len(reader.get(f"segments/poles/history/?since={last}").json()["sizes"]) == 1


def test_counting_anew(server, reader, poles, people):
    Profile.objects.filter(pk=people["cy"].pk).update(country="PL")
    assert reader.post("segments/poles/count/").status_code == 403
    asked = server.post("segments/poles/count/")
    assert (asked.status_code, asked.json()) == (202, {"slug": "poles", "state": "ready"})
    Segment.objects.filter(slug="poles").update(state="failed")
    refresh.refresh_all()
    assert (server.get("segments/poles/").json()["size"], server.get("segments/poles/").json()["state"]) == (
        3,
        "ready",
    )
    assert server.send("DELETE", "segments/poles/count/").status_code == 204
    server.post("segments/", {"slug": "fair", "name": "Fair", "kind": "list"})
    assert server.post("segments/fair/count/").json()["error"]["code"] == "is_a_list"
