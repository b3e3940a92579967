"""loop.getaddrinfo() and getnameinfo(): exactly what the functions of socket answer or raise.

Addresses that are numbers are answered without a thread where the answer is known to be the same;
every other call, and every call if socket.getaddrinfo was replaced, goes to the executor.
"""

import asyncio
import itertools
import logging
import socket
import subprocess
import sys
import threading

import pytest
from support.differential import FACTORIES, assert_same_on_both, outcome_of

import hotloop

NUMERIC = socket.AI_NUMERICHOST


class Text(str):
    """A string that is not exactly one."""


# Nothing here may ask a name server: what is no address and no local name gets AI_NUMERICHOST.
ADDRESSES = [
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "2001:db8::1",
    "2001:DB8:0:0:0::1",
    "::ffff:192.0.2.1",
    "::192.0.2.1",
    "fe80::1",
    "fe80::1%lo",
    "fe80::1%1",
    "::1%lo",
    "ff02::1",
    Text("127.0.0.1"),
    b"127.0.0.1",
    b"::1",
    None,
    "",
    "localhost",
]
ODD_SPELLINGS = [
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f.0.0.1",
    "0x7f000001",
    "017700000001",
    "127.0.0.01",
    "0127.0.0.1",
    "127.0.0.1.",
    " 127.0.0.1",
    "127.0.0.1 ",
    "127.0.0",
    "127.0.0.256",
    "127.0.0.1\0",
    "1.2.3.4.5",
    "1..2.3",
    ":::",
    "::1::",
    "12345::1",
    "::g",
    "[::1]",
    "::1 ",
    "::1%",
    "fe80::1%no-such-interface",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8:9",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "00000::1",
    "::ffff:1.2.3.256",
    "٣.٣.٣.٣",
    "１２７.0.0.1",
    "münchen",
    "x" * 70,
    "\ud800",
    bytearray(b"127.0.0.1"),
    127,
    1.5,
]
PORTS = [80, 0, None, "80", "", b"80", "http", "no such service", 65535, 65536, -1, True, 1.5]
TYPES = [socket.SOCK_STREAM, socket.SOCK_DGRAM, 0, socket.SOCK_RAW, 1, 99]
PROTOS = [0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 1, 999]
FAMILIES = [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 2, -5]
FLAGS = [
    0,
    socket.AI_PASSIVE,
    socket.AI_NUMERICHOST,
    socket.AI_NUMERICSERV,
    socket.AI_CANONNAME,
    socket.AI_ADDRCONFIG,
    socket.AI_V4MAPPED | socket.AI_ALL,
    1 << 20,
]
WRONG = ["x", None, 1.5, 10**30]


def combinations():
    """Argument tuples (host, port, family, type, proto, flags), each value with many others."""
    for host, family, kind in itertools.product(ADDRESSES, FAMILIES, TYPES):
        yield host, 80, family, kind, 0, 0
        yield host, None, family, kind, socket.IPPROTO_TCP, socket.AI_PASSIVE
    for host, port in itertools.product(ADDRESSES, PORTS):
        for kind in (socket.SOCK_STREAM, 0):
            yield host, port, 0, kind, 0, 0
    for host, kind, proto, flags in itertools.product(ADDRESSES[:12:3], TYPES, PROTOS, FLAGS):
        yield host, 80, 0, kind, proto, flags
    for host, port, kind in itertools.product(ODD_SPELLINGS, (80, None, "x"), TYPES[:2]):
        yield host, port, 0, kind, 0, NUMERIC
    for host, position, wrong in itertools.product(("127.0.0.1", "::1"), range(2, 6), WRONG):
        arguments = [host, 80, 0, socket.SOCK_STREAM, 0, 0]
        arguments[position] = wrong
        yield tuple(arguments)


COMBINATIONS = list(combinations())


def described(function, *args):
    """How the call ended, with the types of everything in its result."""
    kind, *values = outcome_of(function, *args)
    return (
        kind,
        repr(values),
        [[type(part) for part in row] for row in values[0]] if (kind == "returned") else None,
    )


def ask(loop, host, port, family, kind, proto, flags):
    return loop.run_until_complete(
        loop.getaddrinfo(host, port, family=family, type=kind, proto=proto, flags=flags)
    )


@pytest.mark.only_hotloop("asyncio calls nothing but socket.getaddrinfo")
@pytest.mark.timeout(120)
def test_every_answer_and_every_error_is_that_of_the_socket_module(loop):
    assert len(COMBINATIONS) >= 2400
    differences = []
    answered_here = 0
    for arguments in COMBINATIONS:
        answered_here += loop._numeric_addresses(*arguments) is not None
        expected = described(socket.getaddrinfo, *arguments)
        actual = described(ask, loop, *arguments)
        if actual != expected:
            differences.append((arguments, expected, actual))
    assert not differences, f"{len(differences)}: {differences[:3]}"
    assert 200 < answered_here < len(COMBINATIONS)


ANSWERED_HERE = [
    ("127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0),
    ("127.0.0.1", 80, socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, 0),
    ("127.0.0.1", None, 0, socket.SOCK_DGRAM, 0, socket.AI_PASSIVE),
    ("::1", 0, 0, socket.SOCK_STREAM, 0, NUMERIC),
    ("2001:DB8::0:1", 65535, socket.AF_INET6, 2, 17, 0),
]


def threads_started(loop, *arguments):
    before = threading.active_count()
    ask(loop, *arguments)
    return threading.active_count() - before


@pytest.mark.only_hotloop("asyncio asks a thread always")
@pytest.mark.parametrize("arguments", ANSWERED_HERE)
def test_a_plain_address_needs_no_thread_and_no_turn(loop, arguments):
    order = []

    async def main():
        loop.call_soon(order.append, "next turn")
        host, port, family, kind, proto, flags = arguments
        found = await loop.getaddrinfo(
            host, port, family=family, type=kind, proto=proto, flags=flags
        )
        assert order == []
        return found

    assert loop.run_until_complete(main()) == socket.getaddrinfo(*arguments)
    assert threads_started(loop, *arguments) == 0


REPLACED = [("answer of another", 1, 6, "", ("host", 1))]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_replaced_resolver_is_called(loop, monkeypatch, host):
    calls = []

    def resolve(*arguments):
        calls.append((arguments, threading.current_thread() is threading.main_thread()))
        return REPLACED

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert ask(loop, host, 80, 0, socket.SOCK_STREAM, 0, 0) == REPLACED
    assert calls == [((host, 80, 0, socket.SOCK_STREAM, 0, 0), False)]


def test_a_replaced_executor_is_called(loop):
    calls = []

    async def run(*arguments):
        calls.append(arguments)
        return REPLACED

    loop.run_in_executor = run
    assert ask(loop, "127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0) == REPLACED
    assert calls == [(None, socket.getaddrinfo, "127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0)]
    del loop.run_in_executor
    found = ask(loop, "127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0)
    assert found[0][4] == ("127.0.0.1", 80)


def test_debug_mode_logs_each_answer(loop, caplog):
    loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"):
        ask(loop, "127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0)
    text = caplog.text
    assert "Get address info 127.0.0.1:80, type=" in text
    assert "Getting address info 127.0.0.1:80, type=" in text


def asked_of_a_closed_loop(loop):
    loop.close()
    call = loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    return outcome_of(call.send, None)


def asked_after_the_executor(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    return outcome_of(ask, loop, "127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0)


@pytest.mark.parametrize("scenario", [asked_of_a_closed_loop, asked_after_the_executor])
def test_a_loop_that_could_not_ask_a_thread_does_not_answer(scenario):
    kind, outcome = assert_same_on_both(scenario)
    assert kind == "returned" and outcome[:2] == ("raised", "RuntimeError")


AUDIT = """
import asyncio, socket, sys
import hotloop
events = []
sys.addaudithook(lambda name, args: events.append(args) if name == "socket.getaddrinfo" else None)
for factory in (asyncio.SelectorEventLoop, hotloop.new_event_loop):
    loop = factory()
    for family, proto in ((0, 0), (socket.AF_INET, 6)):
        loop.run_until_complete(
            loop.getaddrinfo("127.0.0.1", 80, family=family, type=socket.SOCK_STREAM, proto=proto))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
assert len(events) == 4 and events[:2] == events[2:], events
assert all(type(number) is int for event in events for number in event[1:])
"""


@pytest.mark.timeout(60)
def test_audit_hooks_see_the_same_events():
    subprocess.run([sys.executable, "-c", AUDIT], check=True, timeout=50)


def resolved_names(loop):
    """What getnameinfo answers or raises for many arguments."""
    results = []
    for sockaddr in (
        ("127.0.0.1", 80),
        ("::1", 80),
        ("::1", 80, 0, 0),
        ("127.0.0.1", 70000),
        ("127.0.0.1",),
        ("not an address", 80),
        "127.0.0.1",
        None,
    ):
        for flags in (
            socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
            socket.NI_NUMERICHOST,
            socket.NI_NUMERICHOST | socket.NI_DGRAM,
            "x",
        ):
            results.append(outcome_of(loop.run_until_complete, loop.getnameinfo(sockaddr, flags)))
    return results


def test_names_of_addresses_are_those_of_the_socket_module():
    _, results = assert_same_on_both(resolved_names)
    assert ("returned", ("127.0.0.1", "80")) in results


@pytest.mark.parametrize("name", FACTORIES)
def test_an_address_is_connected_to_by_its_number(name):
    """The path on which most addresses are resolved: a connection."""

    async def main():
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    loop = FACTORIES[name]()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_hotloops_own_answer_is_used_at_all():
    loop = hotloop.new_event_loop()
    found = loop._numeric_addresses("127.0.0.1", 80, 0, socket.SOCK_STREAM, 0, 0)
    loop.close()
    assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    assert found[0][0] is socket.AF_INET and found[0][1] is socket.SOCK_STREAM
