"""Bodies of requests: never more in memory than allowed, with Content-Length or without."""

import asyncio
import json
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request

from ....corpora.excerpt import excerpt
from ....errors import T586, T586_JSON, T586_LENGTH, T586_SURROGATE, T586_TWICE, T588, T596, T597
from .refusals import Refusal

# A body has so long to arrive; a stop of the service waits no longer for it either.
_SECONDS = 30.0
# Of a body that is too large so much more is read and thrown away, for so long: who still sends does not listen, and
# closing the connection now would take the answer away.
_MORE_BYTES, _MORE_SECONDS = 64_000_000, 5.0


async def read_json(request: Request, most: int) -> object:
    """Read a body of JSON.

    request (Request): Whose body was not read yet.
    most (int): Bytes it may have.
    RETURNS (object): What it holds.
    RAISES (Refusal): T597 for another type, T588 for more bytes, T596 for a body that does not arrive, T586 for what is
        not JSON.
    """
    _check_type(request)
    return _parse(await _read(request, most))


def _check_type(request: Request) -> None:
    # Others can be sent by any web page without asking, to a service on the reader's own machine.
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Refusal(415, T597.format(given=excerpt(given)[1:-1]))


async def _read(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length")
    if declared is not None and not (declared.isascii() and declared.isdecimal()):
        raise Refusal(400, T586.format(problem=T586_LENGTH))
    # A client that asks first has not sent anything yet.
    if declared is not None and int(declared[:20]) > most and "expect" in request.headers:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(_SECONDS):
            stream = request.stream()
            async for part in stream:
                body += part
                if len(body) > most:
                    await _throw_away(stream)
                    raise _too_large(most)
    except TimeoutError:
        raise Refusal(408, T596.format(seconds=_SECONDS), headers={"Connection": "close"}) from None
    return bytes(body)


async def _throw_away(stream: object) -> None:
    n_bytes = 0
    try:
        async with asyncio.timeout(_MORE_SECONDS):
            async for part in stream:  # type: ignore[attr-defined]
                if (n_bytes := n_bytes + len(part)) > _MORE_BYTES:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def _too_large(most: int) -> Refusal:
    return Refusal(413, T588.format(most=most), headers={"Connection": "close"})


def _parse(body: bytes) -> object:
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except RecursionError:
        raise Refusal(400, T586.format(problem=T586_JSON.format(reason="nested too deeply"))) from None
    except ValueError as error:
        raise Refusal(400, T586.format(problem=T586_JSON.format(reason=error))) from error


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    for name in found:
        # Readers of JSON let half a surrogate pair pass, and nearly everything after them fails at it.
        if any(0xD800 <= ord(character) < 0xE000 for character in name):
            raise Refusal(400, T586.format(problem=T586_SURROGATE.format(field="the name of a field")))
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Refusal(400, T586.format(problem=T586_TWICE.format(field=excerpt(twice)[1:-1])), field=twice)
    return found


def _refuse_constant(name: str) -> object:
    # NaN and Infinity, which Python reads and JSON does not have.
    raise ValueError(name)
