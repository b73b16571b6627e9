"""Errors in the bodies of answers, in the shapes in which servers write them.

OpenAI's is ``{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}``. Others have a shape of their own,
and many send it with the status 200: MiniMax (``base_resp``), Zhipu and DashScope (``code`` with ``msg`` or
``message``), FastAPI (``detail``), Baidu (``error_code``), Spark (``header``), Cloudflare (``errors``), Gemini (a list
around it).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

_HOLDERS: Final = ("error", "base_resp", "fault", "header")
"""Fields that hold the error as an object of its own."""
_MESSAGES: Final = (
    *("message", "msg", "status_msg", "detail", "error_msg", "errmsg", "error_message", "error_description"),
    *("faultstring", "error", "errors", "reason", "title"),
)
_CODES: Final = ("code", "status_code", "error_code", "errcode", "errno", "status", "type")
_NUMBERS: Final = _CODES[:-2]
_SUCCESS: Final = frozenset({"", "0", "200", "20000", "ok", "success", "succeeded", "none", "null"})
_find_title = re.compile(r"\A\s*<.*?<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL).search
_FAILURE: Final = frozenset({"error", "failed", "failure", "fail"})


def error_fields(body: object) -> Mapping[str, object]:
    """The error object of an answer, wherever the server put it; empty if there is none."""
    if isinstance(body, list):
        objects = [each for each in body if isinstance(each, dict)]
        body = next(filter(is_error, objects), objects[0] if objects else None)
    if not isinstance(body, dict):
        return {}
    for name in _HOLDERS:
        if isinstance(inner := body.get(name), dict) and inner:
            return inner
    return body


def error_text(fields: Mapping[str, object], body: object) -> str:
    """What the server says, in the places where servers say it."""
    for name in _MESSAGES:
        if text := _words(fields.get(name)):
            return text
    if isinstance(body, str):
        title = _find_title(body)  # of a gateway's web page
        text = " ".join(title[1].split()) if title else body
    else:
        text = "" if body in (None, {}, []) else _shown(body)
    return text or "it gave no reason"


def is_error(body: object) -> bool:
    """Whether an answer with the status 200 is an error."""
    if isinstance(body, list):
        return any(map(is_error, body))
    if not isinstance(body, dict):
        return False
    if says_error(body.get("error")) or "error" in (body.get("object"), body.get("type")):
        return True
    if any(_is_bad(inner) for name in ("base_resp", "header") if isinstance(inner := body.get(name), dict)):
        return True
    if body.get("choices") or body.get("usage"):
        return False
    if body.get("detail") or body.get("errors") or body.get("fault") or body.get("success") is False:
        return True
    status = body.get("status")
    if isinstance(status, str) and status.casefold() in _FAILURE:
        return True
    return _is_bad(body) and any(body.get(name) for name in _MESSAGES)


def says_error(found: object) -> bool:
    """Whether the value of a field ``error`` tells of one. Gateways send the field with nothing in it, too."""
    if isinstance(found, dict):
        return any(str(value).casefold() not in _SUCCESS for value in found.values())
    return bool(found)


def _is_bad(fields: Mapping[str, object]) -> bool:
    """Whether a code among *fields* means failure."""
    codes = (fields.get(name) for name in _NUMBERS)
    return any(str(code).casefold() not in _SUCCESS for code in codes if isinstance(code, int | str))


def _words(found: object) -> str:
    """The text that *found* says; "" where it says none."""
    if isinstance(found, str):
        return found.strip()
    if isinstance(found, list):
        return "; ".join(filter(None, map(_words, found)))
    if isinstance(found, dict):
        # FastAPI says where in the request the fault is: {"loc": ["body", "messages"], "msg": "Field required"}.
        place = found.get("loc")
        text = next((words for name in _MESSAGES if (words := _words(found.get(name)))), "") or _shown(found)
        return f"{'.'.join(map(str, place))}: {text}" if isinstance(place, list) and place else text
    return ""


def _shown(found: object) -> str:
    try:
        return json.dumps(found, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return repr(found)
