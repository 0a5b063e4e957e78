"""Plain HTTP to the sandbox's Zoho; each reply is checked against the models of Zoho's client."""

import json
from datetime import UTC, datetime
from urllib.parse import urlsplit

import urllib3

from tests.crm.sandbox.zoho_models import check


class Zoho:
    """Calls to a running sandbox. `token`: any text is a good token unless the sandbox was told otherwise."""

    def __init__(self, sandbox, token="1000.test"):
        self.url, self.token = sandbox.url, token
        self.pool = urllib3.PoolManager(retries=False, timeout=30)

    def __call__(self, method, path, body=None, headers=None):
        path = path if path.startswith("/") else f"/crm/v8/{path}"
        sent = {"Authorization": f"Zoho-oauthtoken {self.token}", **(headers or {})}
        data = None if body is None else json.dumps(body)
        answer = self.pool.request(method, self.url + path, body=data, headers=sent)
        if answer.data and answer.headers.get("Content-Type", "").startswith("application/json"):
            check(method, urlsplit(path).path, answer.status, answer.json())
        return answer

    def get(self, path, headers=None):
        return self("GET", path, headers=headers)

    def post(self, path, body):
        return self("POST", path, body)

    def put(self, path, body):
        return self("PUT", path, body)

    def patch(self, path, body):
        return self("PATCH", path, body)

    def delete(self, path):
        return self("DELETE", path)

    def coql(self, query):
        """A query's reply."""
        return self.post("coql", {"select_query": query})

    def refresh(self, **changed):
        """The JSON of a token refresh."""
        form = {
            "grant_type": "refresh_token",
            "client_id": "id",
            "client_secret": "secret",
            "refresh_token": "refresh",
            **changed,
        }
        answer = self.pool.request("POST", f"{self.url}/oauth/v2/token", fields=form, encode_multipart=False)
        return answer.json()

    @staticmethod
    def iso(second):
        """A time header's text."""
        return datetime.fromtimestamp(second, UTC).isoformat()
