"""Calls functions of the client that openapi-python-client generated: each line on stdin is a call, each on stdout its
status and answer, as JSON made of the typed answer."""

import datetime
import enum
import inspect
import json
import os
import sys
import typing
from importlib import import_module

PACKAGE = "litemaas_client"


def typed(function, name, value):
    """The value as the function's annotation wants it: an enum or a time."""
    hints = typing.get_args(typing.get_type_hints(function).get(name, str)) or (typing.get_type_hints(function)[name],)
    for hint in hints:
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return hint(value)
        if hint is datetime.datetime:
            return datetime.datetime.fromisoformat(value)
    return value


def call(client, asked):
    module = import_module(f"{PACKAGE}.api.{asked['function']}")
    function = module.sync_detailed
    names = list(inspect.signature(function).parameters)
    values = dict(zip(names, asked["path"], strict=False)) | asked["query"]
    values = {name: typed(function, name, value) for name, value in values.items()}
    if asked["body"] is not None:
        shape, fields = asked["body"]
        values["body"] = getattr(import_module(f"{PACKAGE}.models"), shape).from_dict(fields)
    answer = function(client=client, **values)
    if answer.headers["content-type"].startswith("text/csv"):
        return answer.status_code, answer.content.decode()
    return answer.status_code, answer.parsed.to_dict()


def main():
    folder, url = sys.argv[1:]
    sys.path.insert(0, folder)
    made = import_module(f"{PACKAGE}.client").AuthenticatedClient
    client = made(base_url=url, token=os.environ["LITEMAAS_TOKEN"], raise_on_unexpected_status=True, timeout=60)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(call(client, json.loads(line))) + "\n")
        sys.stdout.flush()


main()
