"""What a kernel before Linux 5.11, a sandbox or an emulator refuses is done without.

The loop's wait with a timeout in nanoseconds is such a system call; that of a child's process
descriptor is in test_subprocess.py. A seccomp filter in a child makes the kernel refuse it.
"""

import pytest
from support import child

FILTER = """
import ctypes, errno, sys
PWAIT2 = 441  # epoll_pwait2(2), the same number on every architecture.
libc = ctypes.CDLL(None, use_errno=True)

class Step(ctypes.Structure):
    _fields_ = [(name, getattr(ctypes, "c_" + kind)) for name, kind in (
        ("code", "uint16"), ("if_true", "uint8"), ("if_false", "uint8"), ("k", "uint32"))]

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.POINTER(Step))]

steps = (Step * 4)(
    Step(0x20, 0, 0, 0),  # Load the number of the call.
    Step(0x15, 0, 1, PWAIT2),  # If it is this one,
    Step(0x06, 0, 0, 0x00050000 | getattr(errno, sys.argv[1])),  # it fails,
    Step(0x06, 0, 0, 0x7FFF0000),  # and any other is made.
)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which a filter needs.
libc.prctl(22, 2, ctypes.byref(Program(4, steps)))  # PR_SET_SECCOMP
# An emulator knows no filters, and some know no such call either.
assert libc.syscall(PWAIT2, -1, None, 0, None, None, 0) == -1
assert ctypes.get_errno() in (errno.ENOSYS, errno.EPERM)
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
    assert child.run_ok("-c", FILTER + PROGRAM, error) == "done\n"
