"""Webhooks: a real server on this machine that answers, fails, redirects and keeps silent."""

import base64
import hashlib
import hmac
import json
import threading
from collections import defaultdict
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.contrib.auth.models import User

from campaigns.flows import engine, webhook_keys, webhooks
from campaigns.models import Enrollment, WebhookCall, WebhookHost, WebhookKey
from crm import masking
from crm.models import Alert, Profile
from delivery import webhook_hosts, webhook_signing
from tests.campaigns.flows.standing import advance, facts, form_of, problems, queries, rehearsed, stand, step
from tests.crm.concurrently import run


class Server:
    """Answers by path: what `answers` says next, else 200; remembers what came."""

    def __init__(self):
        self.came: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, list] = defaultdict(list)
        self.patience = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.came.append((self.command, self.path, headers, body))
                planned = outer.answers[self.path]
                status, headers, text = planned.pop(0) if planned else (200, {}, b"")
                if status == 0:  # silence
                    outer.patience.wait(20)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args):
                pass

        for method in ("POST", "PUT", "PATCH", "GET"):
            setattr(Handler, f"do_{method}", Handler.answer)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.place = f"127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def url(self, path="/hook"):
        return f"http://{self.place}{path}"

    def plan(self, *answers, path="/hook"):
        self.answers[path] = [
            (status, headers, json.dumps(reply).encode() if reply is not None else b"")
            for status, headers, reply in answers
        ]


@pytest.fixture(scope="module")
def machine():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def server(machine, settings):
    settings.NUDGE_WEBHOOK_HOSTS = [machine.place]
    machine.came.clear()
    machine.answers.clear()
    machine.patience.clear()
    return machine


def perform(world, **later):
    world.now += timedelta(**later)
    while webhooks.perform(world.now):
        pass


class TestCalls:
    def test_a_call_is_signed_made_once_and_keeps_nobody(self, world, server):
        ann = world.person("ann")
        Profile.objects.filter(pk=ann).update(first_name="Ann")
        people = [(ann, {"event": {"properties": {"cart": 7}}, "done": ["s0"]})]
        config = {"url": server.url(), "headers": {"X-Shop": "eu"}}
        foreseen = rehearsed(world, "webhook", config, people)
        flow = world.flow([step("webhook", **config), step("wait", "s2", amount=1)])
        [number] = stand(world, flow, people)
        advance(world)
        assert facts() == foreseen
        perform(world)
        [(method, path, headers, body)] = server.came
        assert (method, path, headers["x-shop"]) == ("POST", "/hook", "eu")
        told = json.loads(body)
        assert told["profile"]["first_name"] == "Ann"
        assert (told["flow"], told["step"], told["run"]) == (flow.slug, "s1", number)
        assert told["context"] == {"event": {"properties": {"cart": 7}}}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        [key] = webhook_keys.present()
        right = base64.b64encode(hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{right}"
        call = WebhookCall.objects.get()
        assert (call.state, call.status_code, call.attempts, call.due_at) == ("answered", 200, 1, None)
        Enrollment.objects.update(step="s1", step_state={}, due_at=world.now)  # as by moving to a new version
        advance(world)
        perform(world, minutes=5)
        assert len(server.came) == 1

    def test_chosen_fields_by_another_method(self, world, server):
        body = {"who": {"from": "profile.external_id"}, "n": 1, "gone": {"from": "event.x"}}
        stand(
            world,
            world.flow([step("webhook", url=server.url(), method="PUT", body=body)]),
            [(world.person("ann"), {})],
        )
        advance(world)
        perform(world)
        [(method, _path, _headers, sent)] = server.came
        assert (method, json.loads(sent)) == ("PUT", {"who": "ann", "n": 1, "gone": None})

    def test_failures_are_repeated_with_the_same_number_until_it_works(self, world, server):
        server.plan(
            (500, {}, None), (503, {}, None), (429, {"retry-after": "600"}, None), (200, {}, {"a": 1})
        )
        stand(world, world.flow([step("webhook", url=server.url())]), [(world.person("ann"), {})])
        advance(world)
        perform(world)
        waits = []
        for _try in range(3):
            call = WebhookCall.objects.get()
            assert call.state == "waiting"
            waits.append((call.due_at - world.now).total_seconds())
            world.now = call.due_at
            perform(world)
        assert 30 <= waits[0] < 40 <= waits[1] < 80
        assert waits[2] >= 600
        assert len({headers["webhook-id"] for _m, _p, headers, _b in server.came}) == 1
        assert WebhookCall.objects.get().reply == {"a": 1}

    def test_silence_is_not_waited_for_long(self, world, server, monkeypatch):
        monkeypatch.setattr(webhooks, "SECONDS", 1)
        server.plan((0, {}, None), (200, {}, None))
        stand(world, world.flow([step("webhook", url=server.url())]), [(world.person("ann"), {})])
        advance(world)
        perform(world)
        server.patience.set()
        call = WebhookCall.objects.get()
        assert (call.state, call.status_code) == ("waiting", None)
        assert "timed out" in call.error.lower()
        perform(world, minutes=1)
        assert WebhookCall.objects.get().state == "answered"

    @pytest.mark.parametrize("status", [301, 404])
    def test_what_will_never_do_is_not_repeated(self, world, server, status):
        server.plan((status, {"location": server.url("/elsewhere")}, None))
        stand(world, world.flow([step("webhook", url=server.url())]), [(world.person("ann"), {})])
        advance(world)
        perform(world)
        perform(world, hours=2)
        assert [path for _m, path, _h, _b in server.came] == ["/hook"]
        assert WebhookCall.objects.get().state == "failed"

    def test_a_worker_that_died_leaves_its_calls_to_the_next(self, world, server):
        people = [(world.person(f"p{n}"), {}) for n in range(3)]
        stand(world, world.flow([step("webhook", url=server.url())]), people)
        advance(world)
        assert len(webhooks._claim(world.now)) == 3
        perform(world, seconds=30)
        assert server.came == []
        perform(world, seconds=31)
        assert len(server.came) == 3
        assert set(WebhookCall.objects.values_list("state", "attempts")) == {("answered", 2)}

    def test_workers_at_once_make_each_call_once(self, world, server):
        people = [(world.person(f"p{n}"), {}) for n in range(40)]
        stand(world, world.flow([step("webhook", url=server.url())]), people)
        advance(world)
        webhook_keys.present()
        run(*[lambda: perform(world)] * 4)
        assert len(server.came) == len({headers["webhook-id"] for _m, _p, headers, _b in server.came}) == 40

    def test_a_batch_takes_as_many_queries_as_one_person(self, world, server):
        flow = world.flow([step("webhook", url=server.url())])
        people = [(world.person(f"p{n}"), {}) for n in range(12)]
        queries(world, flow, people[:1])
        assert queries(world, flow, people[1:2]) == queries(world, flow, people[2:])


class TestReplies:
    CONFIG = {"reply": {"attributes.score": "customer.score"}, "save_as": "crm", "wait_minutes": 30}

    def wait_for(self, world, server, **more):
        ann = world.person("ann")
        config = {"url": server.url(), **self.CONFIG, **more}
        stand(world, world.flow([step("webhook", **config), step("wait", "s2", amount=1)]), [(ann, {})])
        advance(world)
        assert Enrollment.objects.get().step == "s1"
        return ann

    def test_the_run_waits_and_goes_on_with_what_was_said(self, world, server):
        server.plan((200, {}, {"customer": {"score": 7}, "discount": "20%"}))
        ann = self.wait_for(world, server)
        perform(world, seconds=5)
        assert Enrollment.objects.get().due_at == world.now
        advance(world)
        found = Enrollment.objects.get()
        assert found.step == "s2"
        assert found.context["crm"]["discount"] == "20%"
        assert Profile.objects.get(pk=ann).attributes == {"score": 7}
        assert facts() == [{"status": 200, "set": {"attributes.score": 7}}]

    @pytest.mark.parametrize("asked_late", [False, True])
    def test_an_answer_in_time_counts_however_late_the_run_is_asked(self, world, server, asked_late):
        server.plan((200, {}, {"customer": {"score": 1}}))
        ann = self.wait_for(world, server)
        perform(world, minutes=29)
        advance(world, hours=5 if asked_late else 0)
        assert Profile.objects.get(pk=ann).attributes == {"score": 1}

    @pytest.mark.parametrize(("if_failed", "state"), [("go_on", "active"), ("leave", "completed")])
    def test_without_an_answer_the_run_ends_its_wait(self, world, server, if_failed, state):
        server.plan(*[(503, {}, None)] * 9)
        self.wait_for(world, server, if_failed=if_failed)
        perform(world)
        advance(world, minutes=10)
        assert Enrollment.objects.get().step == "s1"
        advance(world, minutes=21)
        assert Enrollment.objects.get().state == state
        assert facts()[0]["refused"] == "no answer"
        tries = len(server.came)
        perform(world, hours=1)
        assert WebhookCall.objects.get().state == "expired"
        assert len(server.came) == tries

    def test_a_reply_that_is_no_json_or_lacks_the_value_writes_nothing(self, world, server):
        server.answers["/hook"] = [(200, {}, b"<html>\0")]
        ann = self.wait_for(world, server)
        perform(world)
        advance(world)
        assert Enrollment.objects.get().context["crm"] == "<html>"
        assert Profile.objects.get(pk=ann).attributes == {}
        assert facts() == [{"status": 200, "missing": ["attributes.score"]}]

    @pytest.mark.parametrize(
        "reply",
        [b'{"a":' * 950 + b"1" + b"}" * 950, b"[" * 30_000, b'{"score":1%s}' % (b"0" * 400), b'["\\u0000"]'],
    )
    def test_a_reply_that_could_not_be_read_again_stops_nobody(self, world, server, reply):
        server.answers["/hook"] = [(200, {}, reply)]
        self.wait_for(world, server)
        perform(world)
        advance(world)
        assert [each["status"] for each in facts()] == [200]
        assert engine.advance(world.now + timedelta(days=30)) == 1  # whoever reads the run can


class TestHosts:
    def test_a_silent_host_is_left_alone_and_others_are_served(self, world, server, settings):
        dead = "127.0.0.1:9"
        settings.NUDGE_WEBHOOK_HOSTS = [server.place, dead]
        people = [(world.person(f"p{n}"), {}) for n in range(4)]
        stand(world, world.flow([step("webhook", url=f"http://{dead}/x")], slug="dead"), people)
        advance(world)
        for _batch in range(webhooks.FAILURES):
            WebhookCall.objects.update(due_at=world.now)
            webhooks.perform(world.now)
        host = WebhookHost.objects.get(origin=f"http://{dead}")
        assert host.open_until == world.now + webhooks.FIRST_PAUSE
        assert Alert.objects.filter(resolved_at=None).count() == 1
        tries = sum(WebhookCall.objects.values_list("attempts", flat=True))
        WebhookCall.objects.update(due_at=world.now)
        stand(world, world.flow([step("webhook", url=server.url())], slug="alive"), people)
        advance(world)
        perform(world)
        assert len(server.came) == 4
        perform(world, minutes=1)
        assert sum(WebhookCall.objects.filter(host=host).values_list("attempts", flat=True)) == tries + 1
        # It comes back: one probe tells, then all go.
        WebhookHost.objects.filter(pk=host.pk).update(origin=server.url("")[:-1] + "0", open_until=None)
        WebhookCall.objects.filter(host=host).update(url=server.url("/back"), due_at=world.now)
        perform(world)
        assert not WebhookCall.objects.filter(state="waiting").exists()
        assert not Alert.objects.filter(resolved_at=None).exists()

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "http://example.com/",
                "ftp://example.com/",
                "ftp://example.com:21/",
                "https://",
                "https://a b/",
                "https://user:x@a.com/",
            ),
            *("https://127.0.0.1/", "https://[::1]/", "https://10.0.0.8/", "https://169.254.169.254/latest"),
            *(
                "https://localhost/x",
                "https://a.com\\@b.com/",
                "https://[::ffff:127.0.0.1]/",
                "https://a.com:99999/",
            ),
        ],
    )
    def test_addresses_that_may_not_be_called(self, url):
        with pytest.raises(webhook_hosts.BadAddress):
            webhook_hosts.look_at(url)

    def test_a_name_that_leads_inside_is_refused_when_it_is_called(
        self, world, server, settings, monkeypatch
    ):
        stand(world, world.flow([step("webhook", url=server.url())]), [(world.person("ann"), {})])
        advance(world)
        settings.NUDGE_WEBHOOK_HOSTS = []
        monkeypatch.setattr(
            webhook_hosts, "look_at", lambda url: webhook_hosts.Target("https://rebound.example", False)
        )
        WebhookCall.objects.update(url=server.url().replace("http:", "https:"))
        perform(world)
        call = WebhookCall.objects.get()
        assert (call.state, server.came) == ("failed", [])
        assert "not public" in call.error


class TestSettings:
    def test_problems(self, db, settings):
        settings.NUDGE_WEBHOOK_HOSTS = []
        good = "https://shop.example/hook"
        assert problems("webhook", url="http://shop.example") == {"url"}
        assert problems("webhook", url=good, headers={"Webhook-Id": "1"}) == {"headers"}
        assert problems("webhook", url=good, headers={"A": "1\r\nB: 2"}) == {"headers"}
        assert problems("webhook", url=good, reply={"email": "x"}) == {"reply"}
        assert problems("webhook", url=good, body={"a": {"add": 1}}) == {"body"}
        assert problems("webhook", url=good, save_as="event", wait_minutes=0) == {"save_as", "wait_minutes"}
        assert problems("webhook", url=good, headers={"X-A": "b"}, reply={"attributes.a": "b"}) == set()

    @pytest.mark.parametrize(
        "more",
        [
            {},
            {"method": "PATCH", "headers": {"X-A": "b"}, "body": {"a": {"from": "profile.email"}, "b": 1}},
            {"reply": {}},
            {"reply": {"attributes.a": "b.c"}, "save_as": "x", "wait_minutes": 5, "if_failed": "leave"},
        ],
    )
    def test_the_form_keeps_settings(self, db, more):
        config = {"url": "https://shop.example/hook", **more}
        assert form_of("webhook", config) == config

    def test_the_key_is_shown_to_whom_it_concerns_and_replaced(self, client, db):
        client.force_login(User.objects.create_superuser("root"))
        page = "/admin/campaigns/webhookcall/key/"
        [old] = webhook_keys.present()
        assert f"whsec_{old}" in client.get(page).content.decode().replace("&#x2B;", "+")
        assert client.post(page).status_code == 302
        new, before = webhook_keys.present()
        assert (before, new != old) == (old, True)
        assert len(webhook_signing.sign([new, before], "m", 1, b"")[2].split()) == 3
        assert WebhookKey.objects.count() == 2
        assert client.get("/admin/campaigns/webhookcall/").status_code == 200
        client.force_login(User.objects.create(username="reader", is_staff=True))
        assert client.get(page).status_code == 403


def test_what_was_said_a_month_ago_is_dropped(world, server):
    stand(world, world.flow([step("webhook", url=server.url())]), [(world.person("ann"), {})])
    advance(world)
    perform(world)
    assert webhooks.forget(world.now + timedelta(days=29)) == 0
    assert webhooks.forget(world.now + timedelta(days=31)) == 1
    assert WebhookCall.objects.get().body == ""
    assert engine.advance(world.now) == 0


def test_readers_without_contact_data_see_the_outline_of_what_was_sent(world, server):
    ann = world.person("ann")
    Profile.objects.filter(pk=ann).update(last_name="Lovelace", email="ann@example.com", external_id="C-1815")
    stand(world, world.flow([step("webhook", url=server.url())]), [(ann, {})])
    advance(world)
    with masking.hiding():
        masking.hide()
        body = WebhookCall.objects.get().body
    assert json.loads(body)["type"] == "flow.step"
    assert not [word for word in ("Lovelace", "ann@example.com", "C-1815") if word in body]
