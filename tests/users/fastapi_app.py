"""A FastAPI application: models, threads, uploads, streams, background tasks and WebSockets."""

import asyncio
import hashlib

from fastapi import BackgroundTasks, Depends, FastAPI, UploadFile, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.websockets import WebSocketDisconnect

from users import content, state

app = FastAPI()
finished = []


class Item(BaseModel):
    name: str
    count: int


@app.get("/state")
async def get_state():
    return state.describe()


@app.get("/hello")
async def hello():
    return {"message": "hello"}


@app.post("/items")
async def add_item(item: Item):
    return {"name": item.name, "twice": 2 * item.count}


@app.get("/in-a-thread")
def in_a_thread(length: int):
    """Not a coroutine function, so it runs in a thread and comes back to the loop."""
    return {"digest": hashlib.sha256(content.data(length)).hexdigest()}


async def dependency():
    await asyncio.sleep(0.001)
    yield "depends"


@app.get("/dependency")
async def get_dependency(value: str = Depends(dependency)):
    return {"value": value}


@app.get("/stream")
async def stream(length: int, chunk: int):
    async def parts():
        body = content.data(length)
        for at in range(0, length, chunk):
            yield body[at : at + chunk]
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="application/octet-stream")


@app.post("/upload")
async def upload(file: UploadFile):
    """The file goes through a temporary file, which threads read and write."""
    body = await file.read()
    return {"size": len(body), "digest": hashlib.sha256(body).hexdigest()}


@app.post("/background/{number}")
async def background(number: int, tasks: BackgroundTasks):
    tasks.add_task(finished.append, number)
    return {"accepted": number}


@app.get("/finished")
async def get_finished():
    return sorted(finished)


@app.websocket("/ws")
async def websocket(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_json({"echo": await socket.receive_json()})
    except WebSocketDisconnect:
        pass
