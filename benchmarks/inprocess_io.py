"""Rows about I/O inside one process: readiness, pipes, connections, address look-up, children."""

import asyncio
import asyncio.subprocess
import contextlib
import mmap
import os
import socket

from benchmarks.registry import row


@row()
async def add_reader_cycle(case):
    """One add_reader on a pipe, a byte sent, the callback run, reading it, and remove_reader."""
    loop = case.loop
    read_end, write_end = os.pipe()

    def on_readable(woken):
        os.read(read_end, 1)
        loop.remove_reader(read_end)
        woken.set_result(None)

    try:
        with case.timed():
            for _ in range(case.passes):
                woken = loop.create_future()
                loop.add_reader(read_end, on_readable, woken)
                os.write(write_end, b"x")
                await woken
    finally:
        os.close(read_end)
        os.close(write_end)


class _Hopper(asyncio.Protocol):
    """The reading end of a pipe: writes the next message as soon as one arrived completely."""

    def __init__(self, message, hops, finished):
        self.message = message
        self.hops = hops
        self.missing = len(message)
        self.finished = finished
        self.writer = None

    def data_received(self, data):
        self.missing -= len(data)
        if self.missing > 0:
            return
        self.missing = len(self.message)
        self.hops -= 1
        if self.hops == 0:
            self.finished.set_result(None)
        else:
            self.writer.write(self.message)


async def _hop(case, size):
    """Send `case.passes` messages of `size` bytes through a pipe, one after the other."""
    loop = case.loop
    message = b"m" * size
    finished = loop.create_future()
    read_end, write_end = os.pipe()
    reader, hopper = await loop.connect_read_pipe(
        lambda: _Hopper(message, case.passes, finished), os.fdopen(read_end, "rb", 0)
    )
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write_end, "wb", 0))
    hopper.writer = writer
    with case.timed():
        writer.write(message)
        await finished
    writer.close()
    reader.close()
    await asyncio.sleep(0)


@row(clock="wall")
async def pipe_hop_64B(case):
    """One message of 64 bytes written to a pipe and received, by protocols in this process."""
    await _hop(case, 64)


@row(clock="wall")
async def pipe_hop_64KiB(case):
    """One message of 64 KiB written to a pipe and received, by protocols in this process."""
    await _hop(case, 64 * 1024)


@row(clock="wall")
async def getaddrinfo_numeric(case):
    """One loop.getaddrinfo of a numeric address."""
    loop = case.loop
    await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    with case.timed():
        for _ in range(case.passes):
            await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


@row(clock="wall")
async def open_connection(case):
    """One open_connection to a server in this process, closed by both."""

    async def on_connect(reader, writer):
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with case.timed():
        for _ in range(case.passes):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
    server.close()
    await server.wait_closed()


@row(unit="us", clock="wall")
async def subprocess_true(case):
    """One child `true`, started and waited for."""
    with case.timed():
        for _ in range(case.passes):
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 0


@row(unit="us", clock="wall")
async def subprocess_cat_pipe(case):
    """One child `cat` that is sent a line through a pipe and gives it back."""
    pipe = asyncio.subprocess.PIPE
    with case.timed():
        for _ in range(case.passes):
            process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
            output, _ = await process.communicate(b"a line\n")
            assert output == b"a line\n"


MEBIBYTE = bytes(1024 * 1024)
BALLAST = 500 * len(MEBIBYTE)


@contextlib.contextmanager
def _ballast():
    """Hold 500 MiB of resident memory in small pages, as a heap that grew has it.

    Private, because a fork copies no page table of shared memory.
    """
    with mmap.mmap(-1, BALLAST, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        while memory.tell() < BALLAST:
            memory.write(MEBIBYTE)
        yield


@row(unit="us", clock="wall")
async def subprocess_rss500(case):
    """One child `true`, started and waited for by a process with 500 MiB of resident memory."""
    case.keep(_ballast)
    await subprocess_true(case)
