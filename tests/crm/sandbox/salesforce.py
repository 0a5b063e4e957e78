"""Salesforce's usual Python client, unmodified, and plain HTTP, both pointed at a sandbox."""

import json

import requests
import urllib3
from simple_salesforce import Salesforce

DATA = "/services/data/v59.0"
ID = "[A-Za-z0-9]{15}[A-Z0-5]{3}"


class ToSandbox(requests.adapters.HTTPAdapter):
    """Sends what is meant for https://…, whatever the host, to the sandbox."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.replies = []

    def send(self, request, **options):
        if request.url.startswith("https://"):
            _, _, path = request.url.removeprefix("https://").partition("/")
            request.url = f"{self.url}/{path}"
        reply = super().send(request, **{**options, "timeout": 10})
        self.replies.append(reply)
        return reply


def session(sandbox):
    """A session of `requests` for which every https host is the sandbox."""
    made = requests.Session()
    made.mount("https://", ToSandbox(sandbox.url))
    return made


def client(sandbox, **login):
    """A logged-in client; by default with a token at hand."""
    login = login or {"instance_url": sandbox.url.replace("http:", "https:"), "session_id": "T"}
    return Salesforce(session=session(sandbox), **login)


class Http:
    """Plain requests with a token unless told otherwise."""

    def __init__(self, sandbox):
        self.url = sandbox.url
        self.pool = urllib3.PoolManager(retries=False, timeout=30)

    def __call__(self, method, path, body=None, headers=None, **options):
        path = path if path.startswith("/services") else DATA + path
        sent = {"Authorization": "Bearer T", "Content-Type": "application/json", **(headers or {})}
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        return self.pool.request(method, self.url + path, body=data, headers=sent, **options)

    def soql(self, text, kind="query"):
        """The reply to a query."""
        return self.pool.request(
            "GET",
            f"{self.url}{DATA}/{kind}",
            fields={"q": text},
            headers={"Authorization": "Bearer T"},
        )


def error(reply):
    """(status, code) of a refusal, which is a list of one."""
    (row,) = reply.json()
    assert row["message"]
    return reply.status, row["errorCode"]
