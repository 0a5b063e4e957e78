"""The sandbox's Salesforce organisation, as the tests of its connector use it."""

from crm.connectors.salesforce import Salesforce
from crm.sandbox import faults

SECRET = "a-consumer-secret"
KEY = "key-of-the-hook"
CONFIG = {"server": "sandbox", "deletions_every_minutes": 1, "hook_key": KEY}
CREDENTIALS = {"client_id": "3MVG9-app", "client_secret": SECRET}


class SandboxCrm:
    """The sandbox as the conformance suite's CRM."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.org = sandbox.salesforce
        self.table = self.org.object("Contact").table
        self.changes = 0

    def connector(self, config=(), credentials=(), tokens=None):
        return Salesforce({**CONFIG, **dict(config)}, {**CREDENTIALS, **dict(credentials)}, tokens)

    def ids(self):
        return {record.id for record in self.table.records.values() if not record.deleted}

    def add(self):
        return self.org.create("Contact", {"LastName": "New", "Email": "new@example.com"})["id"]

    def change(self, record_id, **body):
        self.changes += 1
        values = {"MailingCity": f"City {self.changes}"}
        self.org.edit("Contact", record_id, {"properties": values, **body})

    def delete(self, record_id):
        self.org.edit("Contact", record_id, {"archived": True})

    def merge(self, winner, loser):
        self.org.edit("Contact", winner, {"merge": loser})

    def value(self, record_id, field):
        return self.table.records[record_id].values.get(field)

    def wait(self, seconds=120):
        self.sandbox.clock.offset_seconds += seconds

    def refuse(self):
        self.script({"path": ".", "status": 401})

    def break_down(self):
        self.script({"path": ".", "status": 200, "body": "<html>Sorry</html>"})

    def secrets(self):
        return [SECRET]

    def script(self, *rules):
        self.sandbox.control.faults = faults.parse(list(rules))

    def asked(self, part):
        """The requests so far whose address holds this."""
        return [entry["path"] for entry in self.sandbox.control.journal if part in entry["path"]]

    def logins(self):
        return len(self.asked("/oauth2/token"))
