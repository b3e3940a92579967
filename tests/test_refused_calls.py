"""What a kernel before Linux 5.11, a sandbox or an emulator refuses is done without.

The loop's wait with a timeout in nanoseconds is such a system call; that of a child's process
descriptor is in test_subprocess.py. A seccomp filter in a child makes the kernel refuse it, and
also the calls of sockets, with the errors of a system that has run out of something.
"""

import platform

import pytest
from support import child

PWAIT2 = 441  # epoll_pwait2(2), the same number on every architecture.
ACCEPT4, SENDTO, RECVFROM = {"x86_64": (288, 44, 45), "aarch64": (242, 206, 207)}[
    platform.machine()
]

FILTER = """
import ctypes, errno, sys
call, error = int(sys.argv[1]), getattr(errno, sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)

class Step(ctypes.Structure):
    _fields_ = [(name, getattr(ctypes, "c_" + kind)) for name, kind in (
        ("code", "uint16"), ("if_true", "uint8"), ("if_false", "uint8"), ("k", "uint32"))]

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]

steps = (Step * 4)(
    Step(0x20, 0, 0, 0),  # Load the number of the call.
    Step(0x15, 0, 1, call),  # If it is this one,
    Step(0x06, 0, 0, 0x00050000 | error),  # it fails,
    Step(0x06, 0, 0, 0x7FFF0000),  # and any other is made.
)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which a filter needs.
libc.prctl(22, 2, ctypes.byref(Program(4, steps)))  # PR_SET_SECCOMP
# An emulator knows no filters, and some know no such call either.
assert libc.syscall(call, -1, None, 0, None, None, 0) == -1
assert ctypes.get_errno() in (errno.ENOSYS, error)
"""

PROGRAM = """
import asyncio, os, threading, time, hotloop

async def main():
    loop = asyncio.get_running_loop()
    for delay in (0.0002, 0.0011, 0.003):
        started = loop.time()
        await asyncio.sleep(delay)
        assert loop.time() - started >= delay  # Rounded up, never down.
    fired = []
    for delay in (0.004, 0.002, 0.003):
        loop.call_later(delay, fired.append, delay)
    await asyncio.sleep(0.006)
    assert fired == [0.002, 0.003, 0.004]
    # What happens ends a long wait.
    started = time.monotonic()
    timer = loop.call_later(60, loop.stop)
    reading, writing = os.pipe()
    read = loop.create_future()
    loop.add_reader(reading, read.set_result, None)
    threading.Timer(0.01, os.write, (writing, b"x")).start()
    await read
    loop.remove_reader(reading)
    called = loop.create_future()
    threading.Timer(0.01, loop.call_soon_threadsafe, (called.set_result, None)).start()
    await called
    assert time.monotonic() - started < 50
    timer.cancel()
    os.close(reading), os.close(writing)

hotloop.run(main())
print("done")
"""


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_waits_are_in_milliseconds_where_nanoseconds_are_refused(error):
    assert child.run_ok("-c", FILTER + PROGRAM, str(PWAIT2), error) == "done\n"


SERVER = """
import asyncio, errno, socket, sys, hotloop

async def main():
    loop = asyncio.get_running_loop()
    contexts = []
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(20)]
    while loop.time() < started + 0.4:
        await asyncio.sleep(0.01)
    assert [context["message"] for context in contexts] == [
        "socket.accept() out of system resource"
    ], contexts
    assert contexts[0]["exception"].errno == getattr(errno, sys.argv[2])
    await asyncio.sleep(0.8)
    assert len(contexts) == 2, contexts  # It has tried again.
    for client in clients:
        client.close()
    server.close()
    await server.wait_closed()

with asyncio.Runner(loop_factory=hotloop.new_event_loop) as runner:
    started = runner.get_loop().time()
    runner.run(main())
print("done")
"""


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_accepting_pauses_for_a_second_with_one_report(error):
    """Whatever it is that the system has run out of."""
    assert child.run_ok("-c", FILTER + SERVER, str(ACCEPT4), error) == "done\n"


SOCKETS = """
import asyncio, os, socket, hotloop

class Protocol(asyncio.Protocol, asyncio.DatagramProtocol):
    def __init__(self):
        self.log = []

    def __getattribute__(self, name):
        if name in ("data_received", "datagram_received", "error_received", "connection_lost"):
            return lambda *told: self.log.append((name, repr(told)))
        return super().__getattribute__(name)

async def turns():
    for _ in range(6):
        await asyncio.sleep(0)

async def outcome(awaitable):
    try:
        return await asyncio.wait_for(awaitable, 5)
    except Exception as error:
        return repr(error)

async def main():
    loop = asyncio.get_running_loop()
    seen = []
    loop.set_exception_handler(
        lambda loop, context: seen.append((context["message"], repr(context.get("exception"))))
    )
    near, far = socket.socketpair()
    transport, protocol = await loop.create_connection(Protocol, sock=near)
    os.write(far.fileno(), b"for the transport")
    await turns()
    transport.write(b"from the transport")
    await turns()
    seen += protocol.log, transport.is_closing()
    transport.abort()
    far.close()
    far = socket.socket(type=socket.SOCK_DGRAM)
    far.bind(("127.0.0.1", 0))
    for address in (None, far.getsockname()):
        transport, protocol = await loop.create_datagram_endpoint(
            Protocol, remote_addr=far.getsockname()
        )
        transport.sendto(b"from the transport", address)
        await turns()
        seen += protocol.log, transport.is_closing()
        transport.abort()
    far.close()
    near, far = socket.socketpair()
    near.setblocking(False)
    os.write(far.fileno(), b"for the call")
    seen.append(await outcome(loop.sock_recv(near, 100)))
    seen.append(await outcome(loop.sock_sendall(near, b"from the call")))
    near.close()
    far.close()
    return seen

seen = []
for factory in (asyncio.SelectorEventLoop, hotloop.new_event_loop):
    with asyncio.Runner(loop_factory=factory) as runner:
        seen.append(runner.run(main()))
assert seen[0] == seen[1], seen
assert "Error" in repr(seen[0])
print("done")
"""


@pytest.mark.parametrize("error", ["ENOMEM", "ENOBUFS", "EIO"])
@pytest.mark.parametrize("call", [SENDTO, RECVFROM], ids=["send", "receive"])
def test_sockets_that_the_kernel_refuses_to_serve(call, error):
    """Whatever its error, it is an OSError, as on asyncio."""
    assert child.run_ok("-c", FILTER + SOCKETS, str(call), error) == "done\n"
