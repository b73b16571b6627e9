"""The OpenAPI description."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
from starlette.routing import Route

from forge_serve import create_app
from support.serving import Running, Serve, get, post


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


def models_for(path: str) -> list[str]:
    """Models of the tests that do what *path* asks for."""
    if path.startswith(("/admin", "/v1/models", "/v1/parameters", "/api/show", "/api/pull")):
        return ["echo", "embed"]
    return ["embed"] if "embed" in path else ["rerank"] if "rerank" in path else ["echo", "toy"]


def test_schemathesis_finds_nothing(serve: Serve, tmp_path: Path) -> None:
    """What the description says is so: statuses, types and shapes of answers, and what is refused.

    Its check that everything is accepted which the schema permits is left out: what a model can do isn't in there.
    """
    file = tmp_path / "openapi.json"
    with serve(models=("echo", "toy", "embed", "rerank")) as server:
        told = description(server)
        for path, operations in told["paths"].items():
            for operation in operations.values():
                names = {"enum": models_for(path)}  # otherwise few requests would get further
                if "requestBody" in operation:
                    schema = operation["requestBody"]["content"]["application/json"]["schema"]
                    (schema["allOf"][0] if "allOf" in schema else schema)["properties"]["model"] = names
                for parameter in operation.get("parameters", ()):
                    if parameter["name"] == "name":
                        parameter["schema"] = names
        file.write_text(json.dumps(told))
        main = "import schemathesis.cli as cli; cli.schemathesis()"
        command = [sys.executable, "-c", main, "run", str(file), "--url", server.url, "--request-timeout", "60"]
        command += ["--phases", "coverage,fuzzing", "--max-examples", "2", "--generation-deterministic", "--no-shrink"]
        command += ["--exclude-checks", "positive_data_acceptance", "--exclude-path", "/admin/events", "--no-color"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr
    assert "Coverage" in run.stdout
    assert f"Tested: {len(told['paths'])}" in run.stdout  # one has two methods, and one is left out
