"""Streams: a server and its clients in one program.

asyncio.start_server() calls a coroutine for each connection, with a reader and a writer;
asyncio.open_connection() gives a client the same pair. write() only fills a buffer, drain() waits
while that is too full. Port 0 lets the system choose a free port.
"""

import asyncio


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def talk(name, port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for word in ("Hello", "Goodbye"):
        writer.write(f"{word}, {name}!\n".encode())
        await writer.drain()
        answers.append((await reader.readline()).decode().strip())
    writer.write_eof()
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answers, rest


async def main():
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for answers, rest in await asyncio.gather(talk("Alice", port), talk("Bob", port)):
            print(f"Echoed: {answers}, then the end: {rest}")


if __name__ == "__main__":
    asyncio.run(main())
