"""Which endpoints may be called, checked by name and again by address."""

import socket

import pytest

from delivery import httpclient, pushhosts
from tests.push import client
from tests.push.service import PushService

KNOWN = [
    "https://updates.push.services.mozilla.com/wpush/v2/abc",
    "https://fcm.googleapis.com/fcm/send/abc",
    "https://fcm.googleapis.com:443/wp/abc",
    "https://jmt17.google.com/fcm/send/abc",
    "https://web.push.apple.com/abc",
    "https://db5p.notify.windows.com/w/?token=a%2b%2f",
]
FOREIGN = [
    "http://fcm.googleapis.com/fcm/send/abc",
    "https://fcm.googleapis.com:8443/fcm/send/abc",
    "https://fcm.googleapis.com.evil.example/abc",
    "https://evil.example/fcm.googleapis.com",
    "https://notify.windows.com.evil.example/",
    "https://xnotify.windows.com/",
    "https://push.apple.com/",
    "https://user@fcm.googleapis.com/abc",
    "https://fcm.googleapis.com@evil.example/abc",
    "https://fcm.googleapis.com\\@evil.example/abc",
    "https://127.0.0.1/abc",
    "https://[::1]/abc",
    "https://localhost/abc",
    "https://fcm.googleapis.com:port/",
    "https://ｆcm.googleapis.com/abc",
    "https://fcm.googleapis.com/a b",
    "https://fcm.googleapis.com/\n",
    "ftp://fcm.googleapis.com/abc",
    "file:///etc/passwd",
    "fcm.googleapis.com/abc",
    "https://",
    "",
]


@pytest.mark.parametrize("endpoint", KNOWN)
def test_known_services(endpoint: str) -> None:
    assert pushhosts.allowed(endpoint)
    assert not pushhosts.trusted(endpoint)


@pytest.mark.parametrize("endpoint", FOREIGN)
def test_everything_else(endpoint: str) -> None:
    assert not pushhosts.allowed(endpoint)


@pytest.mark.parametrize(
    ("names", "endpoint", "allowed"),
    [
        (["127.0.0.1:9090"], "http://127.0.0.1:9090/push/1", True),
        (["127.0.0.1:9090"], "https://127.0.0.1:9090/push/1", True),
        (["127.0.0.1:9090"], "http://127.0.0.1:9091/push/1", False),
        (["127.0.0.1:9090"], "http://127.0.0.1/push/1", False),
        (["Push.Internal"], "https://push.internal/1", True),
        (["push.internal"], "https://push.internal:8443/1", False),
        (["[::1]:9090"], "http://[::1]:9090/1", True),
    ],
)
def test_hosts_that_the_operator_names(settings, names: list[str], endpoint: str, allowed: bool) -> None:
    settings.NUDGE_PUSH_HOSTS = names
    assert pushhosts.allowed(endpoint) is allowed


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("142.250.74.106", True),
        ("2a00:1450:4001:82b::200a", True),
        ("::ffff:142.250.74.106", True),
        ("64:ff9b::8efa:4a6a", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("ff02::1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert pushhosts.public(address) is public


class TestAtTheSocket:
    """A name may pass the list and still lead home; the address decides, at the moment of connecting."""

    @staticmethod
    def post(url: str, trusted: bool) -> httpclient.Response:
        one = httpclient.Client(pushhosts.public, max_in_flight=2)
        [response] = one.post([httpclient.Request("tag", url, [], b"x", trusted)])
        return response

    def test_a_name_that_leads_to_a_private_address_is_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            response = self.post(f"https://localhost:{server.getsockname()[1]}/", trusted=False)
            server.settimeout(0.05)
            with pytest.raises(TimeoutError):
                server.accept()
        assert (response.status, response.refused) == (0, True)

    def test_plain_http_needs_trust(self) -> None:
        with PushService() as push:
            response = self.post(f"{push.origin}/wpush/v2/x", trusted=False)
            assert response.status == 0
            assert len(push.journal) == 0
            assert self.post(f"{push.origin}/wpush/v2/x", trusted=True).status == 404

    def test_redirects_and_proxies_are_not_followed(self, monkeypatch) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
        from tests.push.faults import Fault

        with PushService() as push:
            here, there = client.subscribe(push), client.subscribe(push)
            here.fail_next(Fault.answer(307, {"Location": there.endpoint}))
            assert self.post(here.endpoint, trusted=True).status == 307
            assert there.pushes == []

    def test_a_refused_connection_is_an_error_not_an_exception(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        response = self.post(f"http://127.0.0.1:{port}/", trusted=True)
        assert (response.status, response.refused) == (0, False)
        assert "connect" in response.error.lower()

    def test_a_slow_first_answer_does_not_hold_up_the_others(self) -> None:
        from tests.push.faults import Fault

        with PushService(verify="none") as push:
            slow, *quick = (client.subscribe(push) for _ in range(4))
            slow.fail_next(Fault.slow(1.0))
            requests = [
                httpclient.Request(s.endpoint, s.endpoint, ["TTL: 60"], b"", True) for s in (slow, *quick)
            ]
            order = [r.tag for r in httpclient.Client(pushhosts.public, 4).post(requests)]
        assert order[-1] == slow.endpoint
        assert len(order) == 4
