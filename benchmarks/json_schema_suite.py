"""The JSON Schema Test Suite (2020-12, required tests) through ``llamaforge.constraints.accepts``.

    hatch run bench:json-schema-suite

The suite comes with the source distribution of ``jsonschema``, which pip downloads. Properties of an instance are put
into the order that the schema has them in, since answers have them in that order.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from llamaforge.constraints import accepts
from llamaforge.errors import ConstraintError

DRAFT = "json/tests/draft2020-12"


def suite(archive: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The required tests by the names of their files."""
    with tempfile.TemporaryDirectory() as folder:
        if archive is None:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*pip, "--dest", folder, "jsonschema"], check=True)
            archive = next(Path(folder).glob("jsonschema-*.tar.gz"))
        with tarfile.open(archive) as source:
            found = {}
            for member in source:
                path = Path(member.name)
                if DRAFT in member.name and path.suffix == ".json" and path.parent.name == "draft2020-12":
                    data = source.extractfile(member)
                    assert data is not None
                    found[path.stem] = json.load(data)
            return found


def ordered(instance: Any, order: dict[str, int]) -> Any:
    """*instance* with its properties in the order of *order*; those that it doesn't know come last."""
    if isinstance(instance, list):
        return [ordered(each, order) for each in instance]
    if isinstance(instance, dict):
        names = sorted(instance, key=lambda name: order.get(name, len(order)))
        return {name: ordered(instance[name], order) for name in names}
    return instance


def property_order(schema: Any, order: dict[str, int]) -> dict[str, int]:
    """The names of all properties, as they come in *schema*."""
    if isinstance(schema, list):
        for each in schema:
            property_order(each, order)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            names = value if keyword in {"properties", "required", "dependentSchemas", "dependentRequired"} else ()
            for name in names:
                if isinstance(name, str):
                    order.setdefault(name, len(order))
            property_order(value, order)
    return order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sdist", type=Path, help="jsonschema's source distribution; otherwise pip downloads it")
    parser.add_argument("--list", action="store_true", help="name each test that is not right")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    for name, groups in suite(arguments.sdist).items():
        for group in groups:
            schema = group["schema"]
            wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
            order = property_order(schema, {})
            for test in group["tests"]:
                text = json.dumps(ordered(test["data"], order))
                try:
                    accepted = accepts(wanted, text)
                except ConstraintError as error:
                    counts["refused"] += 1
                    refusals[f"{name}: {error.reason[:90]}"] += 1
                    continue
                verdict = "right" if accepted == test["valid"] else "under" if accepted else "over"
                counts[verdict] += 1
                if arguments.list and verdict != "right":
                    print(f"{verdict}: {name}: {group['description']}: {test['description']}")
    if arguments.list:
        for reason, count in refusals.most_common():
            print(f"{count:4} {reason}")
    print(", ".join(f"{kind} {counts[kind]}" for kind in ("right", "under", "over", "refused")))


if __name__ == "__main__":
    main()
