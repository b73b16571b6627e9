"""Runs the Python blocks of one document, in one namespace: a line of JSON in, a line of JSON out.

It is a program of its own so that a page's environment, folder and registered backends are nobody else's.
"""

from __future__ import annotations

import contextlib
import io
import json
import linecache
import os
import sys
import traceback
import types


def main() -> None:
    """Serve until standard input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what an engine prints from C is not the document's output
        module = types.ModuleType("document")
        sys.modules["document"] = module
        for line in sys.stdin:
            block = json.loads(line)
            print(json.dumps(_run(block["name"], block["code"], module)), file=answers, flush=True)


def _run(name: str, code: str, module: types.ModuleType) -> dict[str, str | None]:
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    printed, failure = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(code, name, "exec"), module.__dict__)
        except BaseException:
            failure = traceback.format_exc()
    return {"output": printed.getvalue(), "failure": failure}


if __name__ == "__main__":
    main()
