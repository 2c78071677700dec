"""The two pages of a service: one to try it, one that describes it. Nothing in them comes from another host."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from starlette.responses import Response

_KINDS = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
ASSETS = [name for name in _KINDS if name != "index.html"]
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="icon.svg"><link rel="stylesheet" href="style.css"></head><body class="reference"><main>
"""


def read_pages() -> dict[str, Response]:
    """Read the files of the page to try a service.

    RETURNS (dict[str, Response]): By name of the file.
    """
    folder = files(__package__) / "page"
    return {
        name: Response((folder / name).read_bytes(), media_type=kind, headers=_HEADERS) for name, kind in _KINDS.items()
    }


def describe(openapi: Mapping[str, Any]) -> Response:
    """Make a page of an OpenAPI document.

    openapi (Mapping): The document.
    RETURNS (Response): HTML.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    title = escape(openapi["info"]["title"])
    parts = [
        _HEAD.format(title=title),
        f"<h1>{title}</h1><p>{escape(openapi['info'].get('description', ''))}</p>",
        '<p><a href="./">Try it</a> · <a href="openapi.json">OpenAPI document</a></p>',
    ]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>")
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            if body is not None:
                parts.append(f"<h3>Body</h3>{_fields(body, schemas)}")
            parts.append("<h3>Answers</h3><dl>")
            for status, answer in operation["responses"].items():
                name = _name_of(answer.get("content", {}).get("application/json", {}).get("schema", {}))
                form = f" <code>{escape(name)}</code>" if name else ""
                parts.append(f"<dt>{escape(status)}</dt><dd>{escape(answer['description'])}{form}</dd>")
            parts.append("</dl></section>")
    parts.append("<section><h2>Forms</h2>")
    for name, schema in schemas.items():
        parts.append(f"<h3><code>{escape(name)}</code></h3><p>{escape(schema.get('description', ''))}</p>")
        parts.append(_fields(schema, schemas))
    parts.append("</section></main></body></html>")
    return Response("".join(parts), media_type="text/html; charset=utf-8", headers=_HEADERS)


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    whole = schemas.get(_name_of(schema), schema)
    rows = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{escape(_kind(field))}</td>"
        f"<td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in whole.get("properties", {}).items()
    )
    return f"<table>{rows}</table>" if rows else ""


def _kind(field: Mapping[str, Any]) -> str:
    if "anyOf" in field or "oneOf" in field:
        kinds = [_kind(one) for one in field.get("anyOf", field.get("oneOf", ())) if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}"
    more = field.get("additionalProperties")
    if field.get("type") == "object" and isinstance(more, Mapping):
        return f"object of {_kind(more)}"
    return _name_of(field) or str(field.get("type", "any"))


def _name_of(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]
