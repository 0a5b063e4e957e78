"""The builder's views: what each right may do, and what each form takes."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from campaigns.flows import editing, triggers
from campaigns.flows.definition import check, parse
from campaigns.models import Flow
from tests.campaigns.admin.asking import latest, post, text, url
from tests.campaigns.admin.conftest import client_with

READ = ["builder", "tree", "counts", "trigger", "settings", "publish", "message"]
READ_STEP = ["step", "people"]
EDIT = ["undo", "redo", "paste"]
EDIT_STEP = ["move_step", "delete_step", "clip_step"]
LIFE = ["pause", "resume", "stop"]


class TestRights:
    @pytest.mark.parametrize("name", READ + EDIT + LIFE + ["add_step"])
    def test_nobody_gets_in_without_a_login(self, db, flow, client, name):
        response = client.get(url(name, flow))
        assert response.status_code == 302
        assert "login" in response["Location"]

    def test_a_fragment_after_the_session_ended_sends_the_page_to_the_login(self, db, flow, client):
        response = client.get(url("counts", flow), headers={"HX-Request": "true"})
        assert response.status_code == 401
        assert response["HX-Redirect"].startswith("/admin/login/?next=/admin/campaigns/flow/")

    def test_staff_without_rights_are_refused(self, db, flow):
        stranger = client_with()
        for name in READ + EDIT + LIFE:
            assert stranger.get(url(name, flow)).status_code == 403
        for name in READ_STEP + EDIT_STEP:
            assert stranger.get(url(name, flow, key="w1")).status_code == 403

    def test_a_viewer_sees_everything_and_changes_nothing(self, flow, viewer):
        for name in READ:
            assert viewer.get(url(name, flow)).status_code == 200
        for name in READ_STEP:
            assert viewer.get(url(name, flow, key="w1")).status_code == 200
        page = viewer.get(url("builder", flow)).content.decode()
        assert 'data-testid="step-card"' in page
        assert 'data-testid="add-step"' not in page
        assert 'data-testid="flow-publish"' not in page
        assert "x-sort" not in page
        assert 'data-testid="save-step"' not in viewer.get(url("step", flow, key="w1")).content.decode()
        refused = [
            post(viewer, url("step", flow, key="w1"), flow, amount=5, unit="hours"),
            post(viewer, url("trigger", flow), flow, **{"trigger.name": "purchase", "mode": "never"}),
            post(viewer, url("settings", flow), flow, name="Mine"),
            post(viewer, url("delete_step", flow, key="w1"), flow),
            post(viewer, url("move_step", flow, key="w1"), flow, by="down"),
            post(viewer, url("add_step", flow) + "?at=&index=0&kind=wait", flow, amount=5, unit="hours"),
            post(viewer, url("undo", flow), flow),
            post(viewer, url("redo", flow), flow),
            post(viewer, url("paste", flow), flow),
            post(viewer, url("clip_step", flow, key="w1"), flow, do="cut"),
            post(viewer, url("publish", flow), flow),
            post(viewer, url("pause", flow), flow),
        ]
        assert {response.status_code for response in refused} == {403}
        assert latest(flow).draft == flow.draft
        assert latest(flow).name == "Welcome"

    def test_an_editor_edits_but_does_not_publish(self, flow, editor):
        assert post(editor, url("step", flow, key="w1"), flow, amount=5, unit="hours").status_code == 200
        assert post(editor, url("publish", flow), flow).status_code == 403
        assert "confirm-publish" not in text(editor.get(url("publish", flow)))
        assert latest(flow).state == Flow.State.DRAFT

    @pytest.mark.parametrize("name", EDIT)
    def test_edits_are_posts(self, flow, editor, name):
        assert editor.get(url(name, flow)).status_code == 405
        assert editor.get(url("move_step", flow, key="w1")).status_code == 405
        assert editor.get(url("clip_step", flow, key="w1")).status_code == 405

    def test_posts_need_the_csrf_token(self, flow):
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.create_superuser("root"))
        assert strict.post(url("undo", flow), {"revision": 0}).status_code == 403


class TestSteps:
    def added(self, client, flow, kind, at="", index=0, **values):
        return post(client, f"{url('add_step', flow)}?at={at}&index={index}&kind={kind}", flow, **values)

    def test_the_picker_offers_every_kind(self, flow, editor):
        shown = text(editor.get(url("add_step", flow) + "?at=&index=0"))
        for kind in ("wait", "message", "split", "exit"):
            assert f"pick-{kind}" in shown

    @pytest.mark.parametrize(
        ("kind", "values", "config"),
        [
            ("wait", {"amount": "3", "unit": "days"}, {"amount": 3, "unit": "days"}),
            (
                "message",
                {"message": "hello", "channel": "webpush"},
                {"message": "hello", "channel": "webpush"},
            ),
            ("exit", {"reason": "has ordered"}, {"reason": "has ordered"}),
            ("exit", {"reason": ""}, {}),
        ],
    )
    def test_a_step_goes_where_the_plus_was(self, flow, editor, kind, values, config):
        response = self.added(editor, flow, kind, at="q1:1", index=1, **values)
        assert response["HX-Retarget"] == "#flow-tree"
        assert 'id="flow-toolbar"' in text(response)
        new = latest(flow).draft["steps"][2]["branches"][1]["steps"][1]
        assert (new["kind"], new["config"]) == (kind, config)
        assert f'"focus": "step-{new["key"]}"' in response["HX-Trigger-After-Settle"]

    @pytest.mark.parametrize(
        ("kind", "values", "says"),
        [
            ("wait", {"until": "", "amount": "", "unit": "days"}, "Fill this in."),
            ("wait", {"amount": "0", "unit": "days"}, "greater than or equal to 1"),
            ("wait", {"amount": "5000", "unit": "days"}, "two years at most"),
            ("wait", {"amount": "5", "unit": "moons"}, "not one of the available choices"),
            ("message", {"message": "", "channel": "webpush"}, "This field is required."),
            ("message", {"message": "gone", "channel": "webpush"}, "not one of the available choices"),
            ("message", {"message": "hello", "channel": "pigeon"}, "not one of the available choices"),
            ("exit", {"reason": "x" * 101}, "at most 100 characters"),
            (
                "split",
                {"name": "Bought?", "rest-name": "No", "branch": "0", "b0-name": ""},
                "Name the branch.",
            ),
            ("split", {"rest-name": "No", "branch": "0", "b0-name": "No"}, "Another branch has this name."),
            ("split", {"rest-name": "No", "branch": "0", "b0-name": "Yes"}, "Add a condition"),
            ("split", {"rest-name": "No"}, "Add a branch with a rule."),
        ],
    )
    def test_a_mistake_stays_in_the_panel(self, flow, editor, kind, values, says):
        response = self.added(editor, flow, kind, **values)
        assert response.status_code == 200
        assert "HX-Retarget" not in response
        assert says in text(response)
        assert latest(flow).draft == flow.draft

    def test_a_step_is_shown_and_saved(self, flow, editor):
        assert 'value="1"' in text(editor.get(url("step", flow, key="w1")))
        post(editor, url("step", flow, key="w1"), flow, amount="2", unit="hours")
        assert latest(flow).draft["steps"][0]["config"] == {"amount": 2, "unit": "hours"}

    def test_a_step_that_is_not_there(self, flow, editor):
        assert editor.get(url("step", flow, key="none")).status_code == 404
        moved = post(editor, url("move_step", flow, key="none"), flow, by="up")
        assert "no longer there" in moved["HX-Trigger"]

    def test_deleting_a_split_says_how_many_steps_go(self, flow, editor):
        assert "3 steps go" in text(editor.get(url("delete_step", flow, key="q1")))
        post(editor, url("delete_step", flow, key="q1"), flow)
        assert [step["key"] for step in latest(flow).draft["steps"]] == ["w1", "m1"]

    def test_moving(self, flow, editor):
        post(editor, url("move_step", flow, key="w1"), flow, by="down")
        assert [step["key"] for step in latest(flow).draft["steps"]] == ["m1", "w1", "q1"]
        post(editor, url("move_step", flow, key="w1"), flow, to="q1:1", index="0")
        assert [s["key"] for s in latest(flow).draft["steps"][1]["branches"][1]["steps"]] == ["w1", "m2"]
        refused = post(editor, url("move_step", flow, key="q1"), flow, to="q1:0", index="0")
        assert "itself" in refused["HX-Trigger"]

    def test_undo_goes_back_to_the_beginning_and_no_further(self, flow, editor):
        post(editor, url("move_step", flow, key="w1"), flow, by="down")
        post(editor, url("delete_step", flow, key="q1"), flow)
        post(editor, url("undo", flow), flow)
        post(editor, url("undo", flow), flow)
        assert latest(flow).draft == flow.draft
        assert "nothing to undo" in post(editor, url("undo", flow), flow)["HX-Trigger"]

    def test_an_edit_of_a_stale_page_changes_nothing_and_says_so(self, flow, editor):
        post(editor, url("move_step", flow, key="w1"), flow, by="down")
        now = latest(flow).draft
        for address in (url("delete_step", flow, key="q1"), url("undo", flow)):
            response = editor.post(address, {"revision": 0})
            assert response.status_code == 409
            assert response["HX-Retarget"] == "#flow-notice"
            assert "You changed this flow in another window" in text(response)
        assert editor.post(url("undo", flow)).status_code == 409
        assert latest(flow).draft == now

    def test_what_people_write_is_escaped(self, flow, editor):
        post(editor, url("step", flow, key="x1"), flow, reason="<script>alert(1)</script>")
        assert "<script>alert(1)" not in editor.get(url("builder", flow)).content.decode()


class TestSplit:
    def form(self, **more):
        return {
            "name": "Bought?",
            "branch": ["0"],
            "b0-name": "Yes",
            "b0-origin": "0",
            "rest-name": "No",
            "rest-origin": "1",
            "node": ["n0", "n1"],
            "n0.kind": "group",
            "n0.mode": "all",
            "n1.kind": "segment",
            "n1.parent": "n0",
            "n1.slug": "vip",
            **more,
        }

    def branches(self, flow):
        return latest(flow).draft["steps"][2]["branches"]

    @pytest.fixture(autouse=True)
    def segment(self, db):
        from campaigns.models import Segment

        return Segment.objects.create(slug="vip", name="VIP", rule={"all": []})

    def test_a_rule_is_stored_and_the_branches_keep_their_steps(self, flow, editor):
        response = post(editor, url("step", flow, key="q1"), flow, **self.form())
        assert response["HX-Retarget"] == "#flow-tree"
        yes, no = self.branches(flow)
        assert yes["rule"] == {"all": [{"kind": "segment", "slug": "vip"}]}
        assert [step["key"] for step in yes["steps"]] == ["x1"]
        assert ([step["key"] for step in no["steps"]], "rule" in no) == (["m2"], False)

    def test_two_rules_in_one_form_do_not_meet(self, flow, editor):
        second = {
            "branch": ["0", "3"],
            "b3-name": "Second",
            "b3-origin": "",
            "node": ["n0", "n1", "n3000", "n3001"],
            "n3000.kind": "group",
            "n3000.mode": "any",
            "n3001.kind": "event",
            "n3001.parent": "n3000",
            "n3001.name": "\x1f",
            "n3001.name_other": "purchase",
            "n3001.how": "gte",
            "n3001.times": "2",
        }
        post(editor, url("step", flow, key="q1"), flow, **self.form(**second))
        yes, second, no = self.branches(flow)
        assert yes["rule"]["all"][0]["slug"] == "vip"
        assert second["rule"] == {
            "any": [{"kind": "event", "name": "purchase", "count": {"op": "gte", "value": 2}}]
        }
        assert second["steps"] == []
        assert no["name"] == "No"

    def test_a_button_redraws_without_storing(self, flow, editor):
        address = url("step", flow, key="q1") + "?redraw=1"
        added = post(editor, address, flow, **self.form(), op="add-branch", target="branches")
        assert 'name="b1-name"' in text(added)
        assert "This field is required" not in text(added)
        more = post(editor, address, flow, **self.form(), op="add-attribute", target="n0")
        assert 'name="n2.field"' in text(more)
        fewer = post(editor, address, flow, **self.form(), op="remove", target="n1")
        assert 'name="n1.slug"' not in text(fewer)
        gone = post(editor, address, flow, **self.form(), op="remove-branch", target="0")
        assert 'name="b0-name"' not in text(gone)
        assert latest(flow).draft == flow.draft

    def test_an_unfinished_rule_is_marked(self, flow, editor):
        response = post(editor, url("step", flow, key="q1"), flow, **self.form(**{"n1.slug": ""}))
        assert "Choose a segment." in text(response)
        assert latest(flow).draft == flow.draft

    def test_a_branch_taken_out_goes_with_its_steps(self, flow, editor):
        form = self.form(branch=["0", "1"], **{"b1-name": "New", "b1-origin": "", "b0-origin": ""})
        form |= {"node": ["n0", "n1", "n1000", "n1001"], "n1000.kind": "group", "n1000.mode": "all"}
        form |= {"n1001.kind": "segment", "n1001.parent": "n1000", "n1001.slug": "vip"}
        post(editor, url("step", flow, key="q1"), flow, **form)
        assert [branch["steps"] for branch in self.branches(flow)[:2]] == [[], []]


class TestTrigger:
    def form(self, **more):
        return {
            "kind": "event",
            "trigger.name": "purchase",
            "mode": "never",
            "when_limited": "defer",
            "priority": "3",
            "node": ["n0"],
            "n0.kind": "group",
            "n0.mode": "all",
        } | more

    def saved(self, client, flow, **more):
        response = post(client, url("trigger", flow), flow, **self.form(**more))
        assert response.get("HX-Retarget") == "#flow-tree", text(response)
        return latest(flow).draft

    def test_everything_at_once(self, flow, editor):
        draft = self.saved(
            editor,
            flow,
            **{
                "trigger.where0.property": "total",
                "trigger.where0.op": "gte",
                "trigger.where0.type": "number",
                "trigger.where0.value": "50",
                "mode": "after",
                "days": "30",
                "key": "properties.cart_id",
                "exit": ["0", "1", "7"],
                "exit0.name": "order_cancelled",
                "exit1.name": "",
                "exit7.name": "order_cancelled",
                "node": ["n0", "n1"],
                "n1.kind": "attribute",
                "n1.parent": "n0",
                "n1.field": "country",
                "n1.op": "eq",
                "n1.value": "PL",
                "n1.type": "choice",
            },
        )
        assert draft["trigger"]["name"] == "purchase"
        assert draft["trigger"]["where"][0]["op"] == "gte"
        assert draft["trigger"]["where"][0]["value"] == 50
        assert draft["reentry"] == {"mode": "after", "days": 30}
        assert draft["key"] == "properties.cart_id"
        assert draft["exit_on"] == [{"kind": "event", "name": "order_cancelled"}]
        assert draft["entry"] == {
            "all": [{"kind": "attribute", "field": "country", "op": "eq", "value": "PL"}]
        }
        assert draft["steps"] == flow.draft["steps"]

    def test_emptied_parts_are_taken_out(self, flow, editor):
        self.saved(editor, flow, key="cart_id", exit=["0"], **{"exit0.name": "a"})
        draft = self.saved(editor, flow)
        assert {"key", "entry"} & draft.keys() == set()
        assert draft["exit_on"] == []

    def test_an_exit_event_has_filters_of_its_own(self, flow, editor):
        filtered = {
            "exit0.where0.property": "total",
            "exit0.where0.op": "gt",
            "exit0.where0.type": "number",
            "exit0.where0.value": "1",
        }
        draft = self.saved(editor, flow, exit=["0"], **{"exit0.name": "paid"}, **filtered)
        assert draft["exit_on"] == [
            {"kind": "event", "name": "paid", "where": [{"property": "total", "op": "gt", "value": 1}]}
        ]
        assert 'value="paid"' in text(editor.get(url("trigger", flow)))

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({"trigger.name": " "}, "Choose an event."),
            ({"mode": "after"}, "Say after how many days"),
            ({"mode": "sometimes"}, "not one of the available choices"),
            (
                {"trigger.where0.property": "a..b", "trigger.where0.op": "eq", "trigger.where0.value": "1"},
                "no name of a property",
            ),
            (
                {"node": ["n0", "n1"], "n1.kind": "segment", "n1.parent": "n0", "n1.slug": ""},
                "Choose a segment.",
            ),
        ],
    )
    def test_a_mistake_stays_in_the_panel(self, flow, editor, more, says):
        response = post(editor, url("trigger", flow), flow, **self.form(**more))
        assert "HX-Retarget" not in response
        assert says in text(response)
        assert latest(flow).draft == flow.draft

    def test_rows_come_and_go_without_storing(self, flow, editor):
        address = url("trigger", flow) + "?redraw=1"
        assert "trigger.where0.property" in text(
            post(editor, address, flow, **self.form(op="add-where", target="trigger"))
        )
        assert (
            text(post(editor, address, flow, **self.form(exit=["0"], op="add", target="exit"))).count(
                'name="exit"'
            )
            == 2
        )
        assert 'name="exit"' not in text(
            post(editor, address, flow, **self.form(exit=["0"], op="remove-0", target="exit"))
        )
        assert latest(flow).draft == flow.draft

    def test_names_known_to_the_sdk_are_offered(self, flow, editor):
        assert 'value="product_viewed"' in text(editor.get(url("trigger", flow)))


class TestTriggerKinds:
    """Every kind of trigger, and what is set for the whole flow."""

    form = TestTrigger.form
    saved = TestTrigger.saved

    def test_every_kind_is_offered_and_its_form_opens(self, flow, editor):
        shown = text(editor.get(url("trigger", flow)))
        assert len(triggers.registry) > 3
        for kind in triggers.registry:
            assert f"choose-{kind}" in shown
            anew = self.form(kind=kind, was_kind="event", op="kind", target=kind)
            opened = text(post(editor, url("trigger", flow) + "?redraw=1", flow, **anew))
            assert f'name="was_kind" value="{kind}"' in opened
            assert "This field is required" not in opened
        assert latest(flow).draft == flow.draft

    def test_a_flow_that_nothing_starts_yet_shows_what_could(self, db, editor):
        flow = Flow.objects.create(slug="new", name="New", draft=editing.empty())
        assert re.search(r'id="fold-kind" open', text(editor.get(url("trigger", flow))))

    def test_a_schedule_lets_people_in_again_and_has_no_key(self, db, editor):
        flow = Flow.objects.create(slug="new", name="New", draft=editing.empty())
        chosen = self.form(kind="schedule", was_kind="event", op="kind", target="schedule", key="cart_id")
        shown = text(post(editor, url("trigger", flow) + "?redraw=1", flow, **chosen))
        assert re.search(r'value="always" selected', shown)
        assert 'name="key"' not in shown

    def test_what_is_set_for_the_whole_flow(self, flow, editor):
        settings = {
            "goal.name": "purchase",
            "goal_within": "3",
            "goal_value": "total",
            "goal_exit": "on",
            "window": "on",
            "window_from": "08:30",
            "window_to": "20:00",
            "window_days": ["1", "5"],
            "when_limited": "skip",
            "priority": "2",
            "holdout_percent": "12.5",
            "starts_at": "2027-01-01T09:00",
            "ends_at": "2027-02-01T09:00",
            "recheck_entry": "on",
        }
        draft = self.saved(editor, flow, **settings)
        assert draft["goal"] == {"name": "purchase", "within_days": 3, "value": "total", "exit": True}
        assert draft["window"] == {"from": "08:30", "to": "20:00", "days": [1, 5]}
        assert (draft["when_limited"], draft["priority"], draft["holdout_percent"]) == ("skip", 2, 12.5)
        assert draft["starts_at"].startswith("2027-01-01T09:00:00+")
        assert draft["recheck_entry"] is True
        assert not check(parse(draft))
        shown = text(editor.get(url("trigger", flow)))
        for value in ("08:30", "12.5", "2027-01-01T09:00", "purchase within 3 days", "12.5 % held out"):
            assert value in shown
        usual = self.saved(editor, flow)
        assert {
            "goal",
            "window",
            "priority",
            "holdout_percent",
            "starts_at",
            "recheck_entry",
        } & usual.keys() == set()

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({"window": "on", "window_from": "", "window_to": "20:00", "window_days": "1"}, "Give a time."),
            ({"window": "on", "window_from": "08:00", "window_to": "20:00"}, "Choose a day."),
            ({"starts_at": "2027-01-02T00:00", "ends_at": "2027-01-01T00:00"}, "come after the start"),
            ({"holdout_percent": "99"}, "less than or equal to 90"),
            ({"kind": "teleport"}, "Choose what starts the flow."),
            ({"goal.where0.property": "total"}, "Choose an event."),
        ],
    )
    def test_a_mistake_stays_in_the_panel(self, flow, editor, more, says):
        assert says in text(post(editor, url("trigger", flow), flow, **self.form(**more)))
        assert latest(flow).draft == flow.draft


class TestSettings:
    def test_renaming(self, flow, editor):
        post(editor, url("settings", flow), flow, name="Hello", description="New people")
        assert (latest(flow).name, latest(flow).slug) == ("Hello", "welcome")
        assert "This field is required." in text(post(editor, url("settings", flow), flow, name=""))
