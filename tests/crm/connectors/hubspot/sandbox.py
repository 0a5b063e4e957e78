"""HubSpot's sandbox as the conformance suite's CRM."""

from crm.connectors.hubspot import HubSpot
from crm.sandbox import faults

CONTACTS, DEALS, PRODUCTS = "contacts", "deals", "products"
TOKEN = "pat-eu1-secret"
SCRIPTED = "X-Scripted"


class SandboxCrm:
    """The sandbox as the conformance suite's CRM."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.hubspot = sandbox.hubspot
        self.store = sandbox.hubspot.contacts
        self.changes = 0

    def connector(self, credentials=None, tokens=None, **config):
        settings = {"server": "sandbox", "deletions_every_minutes": 1, **config}
        return HubSpot(settings, credentials or {"access_token": TOKEN}, tokens)

    def ids(self):
        return {str(record.id) for record in self.store.live()}

    def add(self):
        return str(self.store.create({"email": "new@example.com"}).id)

    def change(self, record_id):
        self.changes += 1
        self.store.update(self.store.records[int(record_id)], {"city": f"City {self.changes}"})

    def delete(self, record_id):
        self.store.archive(self.store.records[int(record_id)])

    def merge(self, winner, loser):
        self.hubspot.edit(CONTACTS, winner, {"merge": loser})

    def value(self, record_id, field):
        return self.store.records[int(record_id)].properties.get(field)

    def wait(self):
        self.sandbox.clock.offset_seconds += 120

    def refuse(self):
        self.script({"path": ".", "status": 401})

    def break_down(self):
        self.script({"path": ".", "status": 200, "body": "<html>Sorry</html>"})

    def secrets(self):
        return [TOKEN]

    def script(self, *rules):
        """Script faults; what they answer is not held against HubSpot's documents."""
        marked = [{**rule, "headers": {SCRIPTED: "1", **rule.get("headers", {})}} for rule in rules]
        self.sandbox.control.faults = faults.parse(marked)

    @property
    def calls(self):
        """The paths that were asked for."""
        return [entry["path"] for entry in self.sandbox.control.journal]

    def forget_calls(self):
        self.sandbox.control.journal.clear()


def read(connector, cursor=None, mode="incremental", names=("email",), name=CONTACTS):
    """All pages of a run."""
    return list(connector.pages(name, cursor or {}, mode, list(names)))


def records(pages):
    """The records of some pages."""
    return [record for page in pages for record in page.records]
