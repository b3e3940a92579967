"""Every public method of the loop, its handles, servers and transports has asyncio's signature.

Compared on instances, with what the running version of asyncio makes in the same situation: names
of parameters, their kinds and their defaults. Annotations are no part of the promise.
"""

import asyncio
import contextlib
import inspect
import os
import ssl

import pytest

import hotloop


def public_methods(thing):
    """Return the names of an object's public methods."""
    return {name for name in dir(thing) if name[0] != "_" and callable(getattr(thing, name))}


def shape(function):
    """Return what a call of a method must look like."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return "no signature"
    return [(parameter.name, str(parameter.kind), parameter.default) for parameter in parameters]


def anonymous_context(protocol):
    """Return a TLS context that needs no certificate: both sides agree to do without."""
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("aNULL:@SECLEVEL=0")
    return context


async def loop_itself(loop, stack):
    """The loop."""
    return loop


async def handle(loop, stack):
    """A handle of call_soon()."""
    return loop.call_soon(print)


async def timer_handle(loop, stack):
    """A handle of call_later()."""
    timer = loop.call_later(60, print)
    stack.callback(timer.cancel)
    return timer


async def threadsafe_handle(loop, stack):
    """A handle of call_soon_threadsafe()."""
    return loop.call_soon_threadsafe(lambda: None)


async def server(loop, stack):
    """A server on a TCP socket."""
    made = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    stack.push_async_callback(made.wait_closed)
    stack.callback(made.close)
    return made


class Ending:
    """A protocol of any kind that knows when its transport is through."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc):
        self.ended.set_result(None)


class Stream(Ending, asyncio.Protocol):
    """Takes bytes."""


class Datagrams(Ending, asyncio.DatagramProtocol):
    """Takes datagrams."""


class Child(Ending, asyncio.SubprocessProtocol):
    """Takes what a child process writes."""


async def close(transport, protocol):
    """Close a transport and wait until that is done."""
    transport.close()
    await protocol.ended


async def connected(loop, stack, tls=False):
    """The client's transport of a connection."""
    contexts = (
        (anonymous_context(ssl.PROTOCOL_TLS_SERVER), anonymous_context(ssl.PROTOCOL_TLS_CLIENT))
        if tls
        else (None, None)
    )
    accepted = []

    def accept():
        accepted.append(Stream())
        return accepted[0]

    made = await loop.create_server(accept, "127.0.0.1", 0, ssl=contexts[0])
    stack.push_async_callback(made.wait_closed)
    stack.callback(made.close)
    transport, protocol = await loop.create_connection(
        Stream, *made.sockets[0].getsockname(), ssl=contexts[1]
    )
    stack.push_async_callback(lambda: accepted[0].ended)
    stack.push_async_callback(close, transport, protocol)
    return transport


async def socket_transport(loop, stack):
    """The transport of a TCP connection."""
    return await connected(loop, stack)


async def tls_transport(loop, stack):
    """The transport of a TLS connection."""
    return await connected(loop, stack, tls=True)


async def datagram_transport(loop, stack):
    """The transport of a UDP socket."""
    made = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    stack.push_async_callback(close, *made)
    return made[0]


async def read_pipe_transport(loop, stack):
    """The transport of a pipe's reading end."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, write_end)
    made = await loop.connect_read_pipe(Stream, os.fdopen(read_end, "rb", 0))
    stack.push_async_callback(close, *made)
    return made[0]


async def write_pipe_transport(loop, stack):
    """The transport of a pipe's writing end."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, read_end)
    made = await loop.connect_write_pipe(Stream, os.fdopen(write_end, "wb", 0))
    stack.push_async_callback(close, *made)
    return made[0]


async def subprocess_transport(loop, stack):
    """The transport of a child process that has ended."""
    transport, protocol = await loop.subprocess_exec(
        Child, "true", stdin=None, stdout=None, stderr=None
    )
    await protocol.ended
    transport.close()
    return transport


async def accepted_socket(loop, stack):
    """What get_extra_info("socket") gives."""
    return (await connected(loop, stack)).get_extra_info("socket")


THINGS = (
    loop_itself,
    handle,
    timer_handle,
    threadsafe_handle,
    server,
    socket_transport,
    tls_transport,
    datagram_transport,
    read_pipe_transport,
    write_pipe_transport,
    subprocess_transport,
    accepted_socket,
)


@pytest.mark.parametrize("make", THINGS, ids=lambda make: make.__name__)
def test_public_methods_have_asyncios_signatures(make):
    """Each public method that asyncio's object has can be called in the same ways on hotloop's."""

    async def shapes():
        async with contextlib.AsyncExitStack() as stack:
            thing = await make(asyncio.get_running_loop(), stack)
            return {name: shape(getattr(thing, name)) for name in public_methods(thing)}

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        expected = runner.run(shapes())
    with asyncio.Runner(loop_factory=hotloop.new_event_loop) as runner:
        actual = runner.run(shapes())
    assert len(expected) > 1
    assert {name: actual.get(name, "missing") for name in expected} == expected
