"""Zoho's replies against the models of its own client library (`shared/specs/zoho/models.json`)."""

import re
from datetime import date, datetime
from functools import cache

from tests.crm.sandbox import specs

WRAPPERS = (  # (path, wrapper of a good reply, model of each row's errors)
    (r"/crm/v8/settings/modules", "modules.ResponseWrapper", "modules.APIException"),
    (r"/crm/v8/settings/fields", "fields.ResponseWrapper", "fields.APIException"),
    (r"/crm/v8/users", "users.ResponseWrapper", "users.APIException"),
    (r"/crm/v8/org", "org.ResponseWrapper", "org.APIException"),
    (r"/crm/v8/coql", "coql.ResponseWrapper", "coql.APIException"),
    (r"/crm/v8/actions/watch", "notifications.ResponseWrapper", "notifications.APIException"),
    (r"/crm/bulk/v8/read", "bulk_read.ResponseWrapper", "bulk_read.APIException"),
    (r"/crm/v8/\w+/deleted", "record.DeletedRecordsWrapper", "record.APIException"),
    (r"/crm/v8/\w+/actions/count", "record.CountWrapper", "record.APIException"),
    (r"/crm/v8/", "record.ResponseWrapper", "record.APIException"),
)
# Codes that Zoho's pages tell of and its client's models do not list.
UNLISTED_CODES = {
    "ADDED_SUCCESSFULLY",
    "AMBIGUITY_DURING_PROCESSING",
    "DISCRETE_PAGINATION_LIMIT_EXCEEDED",
    "EXPIRED_VALUE",
    "INVALID_DATA",
    "JOB_NOT_COMPLETED",
    "REQUIRED_PARAM_MISSING",
    "RESOURCE_NOT_FOUND",
    "TOKEN_BOUND_DATA_MISMATCH",
    "TOO_MANY_REQUESTS",
}
QUERIES = (  # (method, path, module of operations.json, its list of parameters)
    ("GET", r"/crm/v8/settings/fields\Z", "fields", "GetFieldsParam"),
    ("GET", r"/crm/v8/\w+/deleted\Z", "record", "GetDeletedRecordsParam"),
    ("GET", r"/crm/v8/\w+/actions/count\Z", "record", "RecordCountParam"),
    ("GET", r"/crm/v8/\w+\Z", "record", "GetRecordsParam"),
    ("DELETE", r"/crm/v8/\w+\Z", "record", "DeleteRecordsParam"),
)
OPEN_MODELS = {"record.Record"}  # whose further keys are the module's fields


@cache
def _models():
    return specs.load("zoho", "models.json")


def check(method, path, status, body):
    """Fail unless a JSON reply fits its model."""
    wrapper, error = next((good, bad) for pattern, good, bad in WRAPPERS if re.match(pattern, path))
    area = wrapper.partition(".")[0]
    if "status" in body:
        assert status >= 400
        _check_model(error, body)
    elif method == "GET" or wrapper.startswith("coql"):
        _check_model(wrapper, body)
    else:
        rows = body.get("data") or body.get("watch")
        assert rows
        assert set(body) <= {"data", "watch", "info"}
        for row in rows:
            _check_model(f"{area}.SuccessResponse" if row["status"] == "success" else error, row)


def check_request(method, path, names):
    """Fail unless the operation exists and knows query parameters of these names."""
    operations = [one for one in specs.load("zoho", "operations.json") if "operation" in one]
    patterns = [
        re.sub(r"\\{.*?\\}", r"[^/]+", re.escape(one["path"]))
        for one in operations
        if one["method"] == method
    ]
    assert any(re.fullmatch(pattern, path) for pattern in patterns), (method, path)
    for verb, pattern, module, parameters in QUERIES:
        if verb == method and re.match(pattern, path):
            assert set(names) <= set(_parameters(module)[parameters]), (path, names)
            return
    assert not names, (method, path, names)


@cache
def _parameters(module):
    entries = specs.load("zoho", "operations.json")
    return next(one["param_and_header_names"] for one in entries if one.get("module") == module)


def _check_model(name, body):
    model = _models().get(name)
    if model is None:  # a model of an area that was not extracted
        return
    known = {entry["name"]: entry for entry in model.values()}
    for key, value in body.items():
        if key not in known:
            assert name in OPEN_MODELS, f"{name} has no {key!r}"
            continue
        if value is not None:
            _check_value(known[key], value, f"{name}.{key}")


def _check_value(entry, value, where):
    kind = entry["type"]
    if kind == "util.Choice":
        assert value in entry["values"] or value in UNLISTED_CODES or where.endswith(".message"), (
            where,
            value,
        )
    elif kind == "List":
        assert isinstance(value, list), where
        if entry.get("of") in _models():
            for one in value:
                _check_model(entry["of"], one)
    elif kind == "Long":
        assert isinstance(value, int) or value.isdecimal(), where
    elif kind in ("Integer", "Boolean", "String"):
        wanted = {"Integer": int, "Boolean": bool, "String": str}[kind]
        assert isinstance(value, wanted), (where, value)
    elif kind == "DateTime":
        assert datetime.fromisoformat(value).tzinfo, where
    elif kind == "Date":
        date.fromisoformat(value)
    elif kind in _models() and isinstance(value, dict):
        _check_model(kind, value)
