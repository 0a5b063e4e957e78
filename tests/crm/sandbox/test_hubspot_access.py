"""Who may call the sandbox's HubSpot, and how often."""

import pytest
from hubspot import HubSpot
from hubspot.crm.contacts import ApiException
from hubspot.oauth import ApiException as OAuthException

LIST = "/crm/v3/objects/contacts"


def call(sandbox, token):
    """The status of a call with this token."""
    try:
        HubSpot(access_token=token, host=sandbox.url).crm.contacts.basic_api.get_page(limit=1)
    except ApiException as error:
        return error.status
    return 200


def token(sandbox, refresh="r", secret="s"):
    """A new access token."""
    return HubSpot(host=sandbox.url).oauth.tokens_api.create(
        grant_type="refresh_token", client_id="c", client_secret=secret, refresh_token=refresh
    )


class TestTokens:
    def test_any_token_is_accepted_until_told_otherwise(self, sandbox, http):
        assert call(sandbox, "anything") == 200
        body = {"vendor": "hubspot", "accept": ["pat-right"]}
        assert http("POST", "/_control/credentials", body).status == 200
        assert (call(sandbox, "anything"), call(sandbox, "pat-right")) == (401, 200)
        http("POST", "/_control/credentials", {"vendor": "hubspot", "accept": None})
        assert call(sandbox, "anything") == 200

    def test_issued_tokens_come_from_accepted_credentials_only(self, sandbox):
        sandbox.hubspot.accepts = {"refresh-right"}
        assert call(sandbox, token(sandbox, "refresh-right").access_token) == 200
        with pytest.raises(OAuthException) as refused:
            token(sandbox, "refresh-wrong")
        assert refused.value.status == 400
        assert "BAD_REFRESH_TOKEN" in refused.value.body

    def test_every_token_seen_can_be_expired_and_a_new_one_works(self, sandbox, http):
        old = token(sandbox).access_token
        assert (call(sandbox, old), call(sandbox, "pat")) == (200, 200)
        expired = http("POST", "/_control/tokens/expire", {"vendor": "hubspot"}).json()["expired"]
        assert expired == 2
        assert (call(sandbox, old), call(sandbox, "pat")) == (401, 401)
        answer = http("GET", LIST, headers={"Authorization": f"Bearer {old}"})
        assert answer.json()["category"] == "EXPIRED_AUTHENTICATION"
        assert call(sandbox, token(sandbox).access_token) == 200

    def test_tokens_end_by_themselves_if_told(self, sandbox, http):
        http("POST", "/_control/settings", {"vendor": "hubspot", "token_seconds": 60})
        issued = token(sandbox)
        assert issued.expires_in == 60
        assert call(sandbox, issued.access_token) == 200
        sandbox.clock.offset_seconds += 61
        assert call(sandbox, issued.access_token) == 401

    def test_a_revoked_refresh_token_gives_nothing(self, sandbox):
        HubSpot(host=sandbox.url).oauth.refresh_tokens_api.archive("r")
        with pytest.raises(OAuthException):
            token(sandbox, "r")

    def test_a_token_tells_whose_it_is(self, sandbox):
        issued = token(sandbox)
        shown = HubSpot(host=sandbox.url).oauth.access_tokens_api.get(issued.access_token)
        assert shown.hub_id == 1234567
        assert 0 < shown.expires_in <= 1800


class TestLimits:
    @pytest.fixture
    def limits(self, http):
        def enforce(**most):
            body = {"vendor": "hubspot", "limits": most or None}
            assert http("POST", "/_control/settings", body).status == 200

        return enforce

    def statuses(self, http, count, method="GET", path=LIST, body=None):
        return [http(method, path, body).status for _ in range(count)]

    def test_nothing_is_enforced_by_default(self, http):
        assert set(self.statuses(http, 120)) == {200}

    def test_a_burst_is_refused_with_the_time_to_wait(self, sandbox, http, limits):
        limits(burst=3)
        assert self.statuses(http, 4) == [200, 200, 200, 429]
        answer = http("GET", LIST)
        assert answer.json()["policyName"] == "TEN_SECONDLY_ROLLING"
        assert 1 <= int(answer.headers["Retry-After"]) <= 10
        sandbox.clock.offset_seconds += int(answer.headers["Retry-After"])
        assert self.statuses(http, 1) == [200]

    def test_searches_have_a_limit_of_their_own_and_no_word_of_when(self, http, limits):
        limits(burst=100, searches_per_second=2)
        search = ("POST", f"{LIST}/search", {"limit": 1})
        assert [http(*search).status for _ in range(3)] == [200, 200, 429]
        answer = http(*search)
        assert answer.json()["policyName"] == "SECONDLY"
        assert "Retry-After" not in answer.headers
        assert self.statuses(http, 1) == [200]

    def test_a_spent_day_stays_spent(self, sandbox, http, limits):
        limits(daily=2)
        assert self.statuses(http, 3) == [200, 200, 429]
        sandbox.clock.offset_seconds += 3600
        assert http("GET", LIST).json()["policyName"] == "DAILY"
        sandbox.clock.offset_seconds += 86_400
        assert self.statuses(http, 1) == [200]
        limits()
        assert set(self.statuses(http, 4)) == {200}
