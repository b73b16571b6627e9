"""The OpenAPI description."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from starlette.routing import Route

from forge_serve import create_app
from support.serving import Running, get, post


def description(server: Running) -> Any:
    status, content = get(server, "/openapi.json")
    assert status == 200
    return json.loads(content)


def test_every_route_is_described(server: Running) -> None:
    paths = description(server)["paths"]
    served = {route.path for route in create_app(server.forge).routes if isinstance(route, Route)}
    served = {path for path in served if not path.startswith(("/assets/", "/favicon"))}  # the page's own
    assert {path.replace(":path}", "}").replace(":response}", "}") for path in served} == set(paths)
    for path, operations in paths.items():
        for method, told in operations.items():
            assert told["summary"], (method, path)


def test_bodies_that_break_the_schema_are_refused(server: Running) -> None:
    """What must be there is needed indeed, and of that type; what is described is understood."""
    told = description(server)
    checked = 0
    for path, operations in told["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if body is None:
            continue
        schema = body["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator.check_schema({**schema, "components": told["components"]})
        own = schema["allOf"][0] if "allOf" in schema else schema
        for name in own["required"]:
            if path == "/api/show" and name == "model":
                continue  # the older name is taken, too
            others = {each: "one" if each == "model" else "x" for each in own["required"] if each != name}
            for wrong in ({}, {name: {"a": [1]}}):
                status, _, content = post(server, path, {**others, **wrong})
                assert status == 400, (path, name, wrong, content)
                checked += 1
    assert checked > 30
