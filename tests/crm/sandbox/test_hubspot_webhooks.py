"""The sandbox's HubSpot webhooks: what is told, how it is signed, what happens if nobody listens."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hubspot.exceptions import InvalidSignatureTimestampError
from hubspot.utils.signature import Signature

from crm.sandbox.hubspot_webhooks import event, signed_headers

SECRET = "client-secret"
PATIENCE = 5


class Target:
    """An HTTP server that keeps what is posted to it and answers with `status`."""

    def __init__(self):
        self.requests = []
        self.status = 204
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                target.requests.append((dict(self.headers), body))
                self.send_response(target.status)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/shop?source=a%3Ab"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def events(self, count):
        """The first `count` events, once they are there."""
        deadline = time.monotonic() + PATIENCE
        while len(found := [row for _, body in self.requests for row in json.loads(body)]) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found


@pytest.fixture
def target():
    running = Target()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def hooked(sandbox, http, target):
    """A sandbox that posts to the target."""
    sandbox.hubspot.webhooks.retry_seconds = 0.05
    settings = {"target_url": target.url, "client_secret": SECRET}
    assert http("POST", "/_control/settings", {"vendor": "hubspot", "webhooks": settings}).status == 200
    return sandbox


def test_each_kind_of_change_is_told(hooked, client, target):
    api = client.crm.contacts.basic_api
    one, two, three = (api.create({"properties": {"firstname": name}}).id for name in ("A", "B", "C"))
    api.update(one, {"properties": {"city": "Oslo"}})
    api.merge({"primaryObjectId": one, "objectIdToMerge": two})
    api.archive(one)
    hooked.hubspot.contacts.restore(hooked.hubspot.contacts.records[int(one)])
    api.purge({"objectId": three})
    told = [(row["subscriptionType"], row["objectId"]) for row in target.events(12)]
    one, two, three = int(one), int(two), int(three)
    assert told == [
        *((f"contact.{kind}", key) for key in (one, two, three) for kind in ("creation", "propertyChange")),
        ("contact.propertyChange", one),
        ("contact.merge", one),
        ("contact.deletion", one),
        ("contact.restore", one),
        ("contact.privacyDeletion", three),
        ("contact.deletion", three),
    ]
    changed, merged = target.events(12)[6:8]
    assert (changed["propertyName"], changed["propertyValue"]) == ("city", "Oslo")
    assert (merged["primaryObjectId"], merged["mergedObjectIds"]) == (one, [two])


def test_the_signature_is_hubspots(hooked, client, target):
    client.crm.deals.basic_api.create({"properties": {"dealname": "Boots"}})
    target.events(2)
    headers, body = target.requests[0]
    sent = {name.lower(): value for name, value in headers.items()}
    signature, stamp = sent["x-hubspot-signature-v3"], sent["x-hubspot-request-timestamp"]
    signed_url = target.url.replace("%3A", ":")

    def valid(secret, text):
        return Signature.is_valid(signature, secret, text, signed_url, "POST", "v3", stamp)

    assert valid(SECRET, body.decode())
    assert not valid("other", body.decode())
    assert not valid(SECRET, body.decode().replace("Boots", "Shoes"))


def test_an_old_request_can_be_built(target):
    stamp = int((time.time() - 301) * 1000)
    body = json.dumps([event("contact.creation", 1, stamp)]).encode()
    headers = signed_headers(SECRET, "https://shop.example/hooks", body, stamp)
    with pytest.raises(InvalidSignatureTimestampError):
        Signature.is_valid(
            headers["X-HubSpot-Signature-v3"],
            SECRET,
            body.decode(),
            "https://shop.example/hooks",
            "POST",
            "v3",
            headers["X-HubSpot-Request-Timestamp"],
        )


def test_batches_hold_a_hundred(hooked, target):
    for record in list(hooked.hubspot.contacts.live())[:150]:
        hooked.hubspot.contacts.archive(record)
    target.events(150)
    assert max(len(json.loads(body)) for _, body in target.requests) <= 100


def test_what_is_refused_comes_again_with_its_attempt(hooked, target):
    target.status = 500
    hooked.hubspot.contacts.archive(hooked.hubspot.contacts.records[1])
    target.events(2)
    target.status = 204
    attempts = [row["attemptNumber"] for row in target.events(3)]
    assert attempts == sorted(set(attempts))
    deadline = time.monotonic() + PATIENCE
    while hooked.hubspot.webhooks.waiting or not hooked.hubspot.webhooks.delivered:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert hooked.hubspot.webhooks.delivered == 1


def test_without_a_target_nothing_is_kept(sandbox):
    sandbox.hubspot.contacts.archive(sandbox.hubspot.contacts.records[1])
    assert sandbox.hubspot.webhooks.waiting == 0
