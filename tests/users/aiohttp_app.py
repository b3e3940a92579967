"""An aiohttp server for the clients of load.py:   aiohttp_app.py LOOP ADDRESS [CERTIFICATE KEY]

LOOP is hotloop or asyncio, ADDRESS a port on loopback or a path. Beside what asgi_app.py serves
there are a file, which aiohttp sends with loop.sendfile, and an upload form.
"""

import asyncio
import hashlib
import json
import ssl
import sys
from pathlib import Path

from aiohttp import WSMsgType, web

import hotloop
from users import content, state

routes = web.RouteTableDef()


@routes.get("/state")
async def get_state(request):
    return web.json_response(state.describe())


@routes.get("/data")
async def get_data(request):
    """`length` bytes from `offset` on, in chunks of `chunk` if that is not 0."""
    query = {name: int(value) for name, value in request.query.items()}
    body = content.data(query["length"], query["offset"])
    chunk = query["chunk"]
    if not chunk:
        return web.Response(body=body)
    response = web.StreamResponse()
    await response.prepare(request)
    for at in range(0, len(body), chunk):
        await response.write(body[at : at + chunk])
    await response.write_eof()
    return response


@routes.post("/echo")
async def post_echo(request):
    return web.Response(body=await request.read())


@routes.post("/mirror")
async def post_mirror(request):
    """The request's body while it arrives."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in request.content.iter_any():
        await response.write(part)
    await response.write_eof()
    return response


@routes.get("/sleep")
async def get_sleep(request):
    print("app: sleeping", flush=True)
    await asyncio.sleep(int(request.query["milliseconds"]) / 1000)
    return web.Response(text="slept")


@routes.get("/file")
async def get_file(request):
    return web.FileResponse(request.query.get("name", "data"))


@routes.post("/form")
async def post_form(request):
    """The sizes and digests of the uploaded files, as JSON."""
    form = await request.post()
    parts = {name: field.file.read() for name, field in form.items()}
    digests = {name: [len(part), hashlib.sha256(part).hexdigest()] for name, part in parts.items()}
    return web.Response(text=json.dumps(digests))


@routes.get("/ws")
async def websocket(request):
    """Send every message back; a text of "close" closes with the code 4001."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.TEXT and message.data == "close":
            await socket.close(code=4001, message=b"asked to")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


@web.middleware
async def bear_lost_clients(request, handler):
    """Take the exception of a client that goes away, which aiohttp would log with its traceback."""
    try:
        return await handler(request)
    except ConnectionError:
        return web.Response()


async def announce(app):
    """Say when the application starts and when it ends."""
    print("app: startup", flush=True)
    yield
    print("app: shutdown", flush=True)


def main(loop_name, address, *certificate):
    """Serve until a signal comes."""
    loop = hotloop.new_event_loop() if loop_name == "hotloop" else asyncio.SelectorEventLoop()
    where = {"port": int(address), "host": "127.0.0.1"} if address.isdigit() else {"path": address}
    if certificate:
        where["ssl_context"] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        where["ssl_context"].load_cert_chain(*certificate)
    Path("data").write_bytes(content.DATA)
    Path("part").write_bytes(content.data(1_200_000))
    app = web.Application(client_max_size=1 << 30, middlewares=[bear_lost_clients])
    app.add_routes(routes)
    app.cleanup_ctx.append(announce)
    web.run_app(app, loop=loop, print=None, access_log=None, **where)


if __name__ == "__main__":
    main(*sys.argv[1:])
