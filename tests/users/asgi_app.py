"""The ASGI application that the servers serve: bodies in every form, WebSockets, and its own state.

It uses no framework, so that what a test sees is the server's and the loop's doing. All bytes come
from `content.DATA`, which the clients know too.
"""

import asyncio
import json
from urllib.parse import parse_qs

from users import content, state


async def read_body(receive):
    """The whole body of a request; ConnectionError if the client goes away before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went away")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def respond(send, *parts, length=None):
    """Answer 200 with a body in parts: with its length if that is given, else chunked."""
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def get_state(query, receive, send):
    """What runs the server, as JSON."""
    body = json.dumps(state.describe()).encode()
    await respond(send, body, length=len(body))


async def get_data(query, receive, send):
    """`length` bytes from `offset` on; in chunks of `chunk` if that is not 0."""
    body = content.data(query["length"], query["offset"])
    chunk = query["chunk"]
    if chunk:
        await respond(send, *(body[at : at + chunk] for at in range(0, len(body), chunk)))
    else:
        await respond(send, body, length=len(body))


async def post_echo(query, receive, send):
    """The request's body, once all of it is there."""
    body = await read_body(receive)
    await respond(send, body, length=len(body))


async def post_mirror(query, receive, send):
    """The request's body while it arrives, piece by piece."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def get_sleep(query, receive, send):
    """An answer after so many milliseconds."""
    print("app: sleeping", flush=True)
    await asyncio.sleep(query["milliseconds"] / 1000)
    await respond(send, b"slept", length=5)


ROUTES = {
    "/state": get_state,
    "/data": get_data,
    "/echo": post_echo,
    "/mirror": post_mirror,
    "/sleep": get_sleep,
}


async def http(scope, receive, send):
    """Answer one request by its path; numbers come in the query."""
    query = {name: int(values[0]) for name, values in parse_qs(scope["query_string"]).items()}
    numbers = {name.decode(): value for name, value in query.items()}
    try:
        await ROUTES[scope["path"]](numbers, receive, send)
    except ConnectionError:
        print("client went away", flush=True)


async def websocket(scope, receive, send):
    """Send every message back; a text of "close" closes with the code 4001."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "asked to"})
            return
        answer = {name: message[name] for name in ("text", "bytes") if message.get(name)}
        await send({"type": "websocket.send", **(answer or {"bytes": b""})})


async def lifespan(scope, receive, send):
    """Say when the server starts and when it has stopped."""
    while True:
        message = await receive()
        step = message["type"].removeprefix("lifespan.")
        print(f"app: {step}", flush=True)
        await send({"type": message["type"] + ".complete"})
        if step == "shutdown":
            return


PROTOCOLS = {"http": http, "websocket": websocket, "lifespan": lifespan}


async def app(scope, receive, send):
    """The application."""
    await PROTOCOLS[scope["type"]](scope, receive, send)
