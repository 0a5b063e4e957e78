"""What is done with steps in the builder: copying, undoing, saving by themselves, conditions, notes, shares."""

import json
import re
import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from campaigns.flows import editing
from campaigns.flows.definition import check, parse
from campaigns.models import Flow
from crm import log
from crm.models import Profile
from tests.campaigns.admin.asking import latest, post, text, url
from tests.campaigns.admin.conftest import client_with


def keys(steps: list[dict]) -> list[str]:
    return [step["key"] for step, _siblings in editing.walk(steps)]


def order(flow: Flow) -> list[str]:
    return [step["key"] for step in latest(flow).draft["steps"]]


class TestClipboard:
    def clip(self, client, flow, key, what):
        return post(client, url("clip_step", flow, key=key), flow, do=what)

    def test_a_split_is_copied_with_its_branches_into_another_flow(self, flow, editor):
        other = Flow.objects.create(slug="other", name="Other", draft=editing.empty())
        assert "pick-paste" not in text(editor.get(url("add_step", other) + "?at=&index=0"))
        self.clip(editor, flow, "q1", "copy")
        assert latest(flow).draft == flow.draft
        assert "3 steps" in text(editor.get(url("add_step", other) + "?at=&index=0"))
        for _time in range(2):
            post(editor, url("paste", other), other, at="", index="0")
        first, second = latest(other).draft["steps"]
        source = editing.find(flow.draft, "q1")
        assert [branch["name"] for branch in first["branches"]] == ["Yes", "No"]
        assert first["branches"][0]["rule"] == source["branches"][0]["rule"]
        assert first["branches"][1]["steps"][0]["config"] == source["branches"][1]["steps"][0]["config"]
        made = keys([first, second])
        assert len(set(made)) == 6
        assert not set(made) & set(keys(flow.draft["steps"]))

    def test_cutting_and_pasting_moves_a_step_and_each_is_undone_alone(self, flow, editor):
        self.clip(editor, flow, "w1", "cut")
        assert order(flow) == ["m1", "q1"]
        pasted = post(editor, url("paste", flow), flow, after="m1")
        first, new, last = order(flow)
        assert (first, last) == ("m1", "q1")
        assert f'"focus": "step-{new}"' in pasted["HX-Trigger-After-Settle"]
        assert editing.find(latest(flow).draft, new)["config"] == flow.draft["steps"][0]["config"]
        post(editor, url("undo", flow), flow)
        assert order(flow) == ["m1", "q1"]
        post(editor, url("undo", flow), flow)
        assert latest(flow).draft == flow.draft

    def test_a_duplicate_comes_behind_its_original(self, flow, editor):
        self.clip(editor, flow, "m1", "duplicate")
        assert order(flow)[:2] == ["w1", "m1"]
        assert order(flow)[3] == "q1"
        assert not [problem for problem in check(parse(latest(flow).draft)) if "key" in problem.message]

    def test_nothing_copied_and_too_much_pasted(self, flow, editor):
        assert "Nothing was copied" in post(editor, url("paste", flow), flow, at="", index="0")["HX-Trigger"]
        many = [{"key": f"k{number}", "kind": "wait", "config": {}} for number in range(199)]
        full = Flow.objects.create(slug="full", name="Full", draft={**editing.empty(), "steps": many})
        self.clip(editor, flow, "q1", "copy")
        assert "at most 200 steps" in post(editor, url("paste", full), full, at="", index="0")["HX-Trigger"]
        assert len(latest(full).draft["steps"]) == 199

    def test_a_place_that_is_gone(self, flow, editor):
        self.clip(editor, flow, "w1", "copy")
        for where in ({"at": "q1:7", "index": "0"}, {"after": "none"}):
            assert "no longer there" in post(editor, url("paste", flow), flow, **where)["HX-Trigger"]
        assert latest(flow).draft == flow.draft


class TestHistory:
    def test_redo_goes_forth_as_far_as_undo_went_back(self, flow, editor):
        post(editor, url("move_step", flow, key="w1"), flow, by="down")
        post(editor, url("delete_step", flow, key="q1"), flow)
        end = latest(flow).draft
        for _time in range(2):
            post(editor, url("undo", flow), flow)
        assert latest(flow).draft == flow.draft
        for _time in range(2):
            post(editor, url("redo", flow), flow)
        assert latest(flow).draft == end
        assert "nothing to redo" in post(editor, url("redo", flow), flow)["HX-Trigger"]
        post(editor, url("undo", flow), flow)
        assert order(flow) == ["m1", "w1", "q1"]

    def test_an_edit_ends_what_could_be_redone(self, flow, editor):
        post(editor, url("move_step", flow, key="w1"), flow, by="down")
        post(editor, url("undo", flow), flow)
        post(editor, url("delete_step", flow, key="q1"), flow)
        assert "nothing to redo" in post(editor, url("redo", flow), flow)["HX-Trigger"]
        assert order(flow) == ["w1", "m1"]


class TestSavingItself:
    def save(self, client, flow, **values):
        return post(client, url("step", flow, key="w1"), flow, auto="1", unit="hours", **values)

    def amount(self, flow):
        return latest(flow).draft["steps"][0]["config"]["amount"]

    def test_a_form_is_stored_while_its_panel_stays_and_one_undo_takes_all_of_it_back(self, flow, editor):
        merge = ""
        for amount in (2, 3, 4):
            response = self.save(editor, flow, amount=str(amount), merge=merge)
            told = json.loads(response["HX-Trigger-After-Settle"])
            merge = told["flow-saved"]["revision"]
            assert "flow-done" not in told
            assert self.amount(flow) == amount
        post(editor, url("undo", flow), flow)
        assert latest(flow).draft == flow.draft

    def test_the_sections_of_the_trigger_tell_what_was_stored(self, flow, editor):
        values = {"kind": "event", "trigger.name": "purchase", "mode": "after", "days": "9", "priority": "3"}
        response = post(editor, url("trigger", flow), flow, auto="1", when_limited="defer", **values)
        assert 'id="fold-often-words" hx-swap-oob="true"><bdi>May enter again after 9 days' in text(response)

    def test_what_others_did_in_between_is_not_merged(self, flow, editor):
        merge = json.loads(self.save(editor, flow, amount="2")["HX-Trigger-After-Settle"])["flow-saved"][
            "revision"
        ]
        post(editor, url("move_step", flow, key="q1"), flow, by="up")
        self.save(editor, flow, amount="3", merge=merge)
        post(editor, url("undo", flow), flow)
        assert (self.amount(flow), order(flow)) == (2, ["w1", "q1", "m1"])

    def test_what_is_wrong_is_told_and_nothing_stored(self, flow, editor):
        response = self.save(editor, flow, amount="5000000")
        assert response["HX-Reswap"] == "none"
        assert json.loads(response["HX-Trigger"])["flow-unsaved"]["mistakes"]
        assert latest(flow).draft == flow.draft

    def test_somebody_else_is_named_when_the_draft_is_another_one(self, flow, editor):
        other = Client()
        other.force_login(User.objects.create_superuser("Zofia"))
        post(other, url("move_step", flow, key="w1"), flow, by="down")
        response = editor.post(url("step", flow, key="w1"), {"revision": 0, "auto": "1", "amount": "9"})
        assert response.status_code == 409
        assert "Zofia changed this flow" in text(response)


class TestConditionsAndNotes:
    slot = {
        "node": ["n99000", "n99001"],
        "n99000.kind": "group",
        "n99000.mode": "all",
        "n99001.kind": "attribute",
        "n99001.parent": "n99000",
        "n99001.field": "country",
        "n99001.op": "eq",
        "n99001.value": "PL",
        "n99001.type": "choice",
    }

    def test_a_step_for_some_with_a_note_for_others(self, flow, editor):
        values = {"amount": "1", "unit": "hours", "note": " Keep it <short>. ", **self.slot}
        post(editor, url("step", flow, key="w1"), flow, **values)
        step = latest(flow).draft["steps"][0]
        assert step["condition"] == {
            "all": [{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}]
        }
        assert step["note"] == "Keep it <short>."
        page = editor.get(url("builder", flow)).content.decode()
        assert "Keep it &lt;short&gt;." in page
        assert "country is Poland" in page
        post(editor, url("step", flow, key="w1"), flow, amount="1", unit="hours")
        assert {"note", "condition"} & latest(flow).draft["steps"][0].keys() == set()

    def test_its_buttons_draw_it_anew(self, flow, editor):
        address = url("step", flow, key="w1") + "?redraw=1"
        added = post(editor, address, flow, amount="1", op="add-attribute", target="n99000", **self.slot)
        assert 'name="n99002.field"' in text(added)
        assert latest(flow).draft == flow.draft


class TestShares:
    def form(self, *shares: str) -> dict:
        rows = {f"b{n}-percent": share for n, share in enumerate(shares)}
        names = {f"b{n}-name": f"Way {n}" for n in range(len(shares))}
        return {"name": "Which?", "branch": [str(n) for n in range(len(shares))], **rows, **names}

    def add(self, client, flow, *shares: str, **more):
        address = f"{url('add_step', flow)}?at=&index=0&kind=random"
        return post(client, address + ("&redraw=1" if more else ""), flow, **self.form(*shares), **more)

    def test_shares_are_stored_and_shown_at_their_branches(self, flow, editor):
        assert self.add(editor, flow, "45", "45,5", "9.5")["HX-Retarget"] == "#flow-tree"
        made = latest(flow).draft["steps"][0]
        assert [branch["percent"] for branch in made["branches"]] == [45, 45.5, 9.5]
        assert "45.5 %" in text(editor.get(url("builder", flow)))

    @pytest.mark.parametrize(
        ("shares", "says"),
        [
            (("50", "40"), "add up to 90 %"),
            (("50", "x"), "a share from 0 to 100 %"),
            (("-1", "101"), "a share from 0 to 100 %"),
            (("nan", "100"), "a share from 0 to 100 %"),
            (("100",), "Add a second branch."),
        ],
    )
    def test_a_sum_that_is_not_a_hundred_stays_in_the_panel(self, flow, editor, shares, says):
        assert says in text(self.add(editor, flow, *shares))
        assert latest(flow).draft == flow.draft

    @pytest.mark.parametrize("number", [2, 3, 7])
    def test_even_shares_add_up_exactly(self, flow, editor, number):
        shown = self.add(editor, flow, *["1"] * number, op="even-split", target="branches").content.decode()
        found = re.findall(r'name="b\d+-percent" value="([0-9.]+)"', shown)
        assert len(found) == number
        assert round(sum(map(float, found)), 6) == 100
        assert max(map(float, found)) - min(map(float, found)) < 0.011


def test_a_wait_for_something_has_its_two_ways(flow, editor):
    address = f"{url('add_step', flow)}?at=&index=0&kind=wait_for"
    assert "Timed out" in text(editor.get(address))
    values = {
        "by": "event", "amount": "2", "unit": "days", "since": "step", "events": ["0"], "events0.name": "purchase",
        "branch": ["0", "1"], "b0-name": "Bought", "b1-name": "Did not",
    }  # fmt: skip
    post(editor, address, flow, **values)
    made = latest(flow).draft["steps"][0]
    assert [branch["name"] for branch in made["branches"]] == ["Bought", "Did not"]
    assert made["config"]["events"] == [{"name": "purchase"}]
    assert not check(parse(latest(flow).draft))


class TestPreview:
    def shown(self, client, flow, **values):
        return text(client.get(url("message", flow), {"message": "hello", "channel": "webpush", **values}))

    @pytest.fixture(autouse=True)
    def personal(self, message):
        message.contents.update(
            content={
                "title": "Hello {{ profile.first_name }}",
                "body": "{{ event.properties.cart_id }} waits",
            }
        )

    def test_a_real_person_is_filled_in_with_their_last_event_of_the_trigger(self, flow):
        maja = Profile.objects.create(first_name="Maja")
        for name, cart in (("push_subscribed", "C7"), ("page_viewed", "wrong")):
            facts = {"cart_id": cart}
            log.append([log.NewEvent(uuid.uuid4(), maja.pk, name, timezone.now(), facts, "test")])
        client = client_with("campaigns.view_flow", "crm.view_profile")
        found = self.shown(client, flow, preview_as=str(maja.pk))
        assert "Hello Maja" in found
        assert "C7 waits" in found
        assert "Nobody is called so" in self.shown(client, flow, preview_as="nobody@example.com")

    def test_people_are_for_those_only_who_may_see_them(self, flow, viewer):
        maja = Profile.objects.create(first_name="Maja")
        found = self.shown(viewer, flow, preview_as=str(maja.pk))
        assert "Maja" not in found
        assert "preview_as" not in found

    def test_a_message_without_words_for_the_channel_says_so(self, flow, viewer):
        assert "no text for this channel" in self.shown(viewer, flow, channel="inapp", message="hello")
