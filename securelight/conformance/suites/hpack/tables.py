"""The dynamic table: order, sizes, eviction, and that it outlives requests (RFC 7541, sections 2.3, 4, 6.3).

That an entry is what it should be is seen by its effect: it holds the method HEAD, whose answer has no content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import hpack_bytes as hpack, http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic, bound
from securelight.conformance.hpack_bytes import ENTRY_OVERHEAD, FIRST_DYNAMIC, INCREMENTAL, METHOD
from securelight.conformance.http2_accept import ANSWERED, COMPRESSION_ERROR, connection_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client

TABLES = Topic(
    "Dynamic table",
    rfc=7541,
    why="Both sides keep the same table; if they differ by one entry, requests get each other's fields and cookies.",
    cure="Process every header block in full, also those of requests that are refused, and count entries as section 4 "
    "says.",
)
UNDECODABLE = connection_error(COMPRESSION_ERROR)
DEFAULT_TABLE = 4_096
HEAD = hpack.literal(METHOD, b"HEAD", INCREMENTAL)
"""The method HEAD, which goes into the table."""
HEAD_SIZE = len(b":method") + len(b"HEAD") + ENTRY_OVERHEAD


async def _put_head(dial: Dial) -> Http2Client:
    """A connection whose dynamic table has one entry, the method HEAD."""
    if not dial.baseline.body_bytes:
        raise Skipped("needs a URL whose answer has content")
    client = await dial.http2()
    table = client.server_settings.get(frames.HEADER_TABLE_SIZE, DEFAULT_TABLE)
    if table < DEFAULT_TABLE:
        raise Skipped(f"the server's table is smaller than usual: {table} bytes")
    await client.send(frames.headers(1, hpack.request(client, HEAD)))
    await client.judge(ANSWERED, 1)
    return client


async def _expect_head(client: Http2Client, block: bytes) -> str:
    """The request in `block` must be understood as HEAD."""
    stream_id = client.next_stream()
    await client.send(frames.headers(stream_id, block))
    await client.judge(ANSWERED, stream_id)
    if client.answers[stream_id].body:
        raise Failed("the entry was another one than it should be: a HEAD request was answered with content")
    return client.situation(stream_id)


async def _expect_undecodable(client: Http2Client, block: bytes) -> str:
    """The block must be refused, as it uses an entry that is gone."""
    stream_id = client.next_stream()
    await client.send(frames.headers(stream_id, block))
    return await client.judge(UNDECODABLE, stream_id)


def _newest(client: Http2Client) -> bytes:
    return hpack.request(client, hpack.indexed(FIRST_DYNAMIC))


def _filler(size: int) -> bytes:
    """A field that goes into the table and counts `size` bytes there."""
    return hpack.literal(b"x", b"v" * (size - ENTRY_OVERHEAD - 1), INCREMENTAL)


@TABLES.must("hpack/2.3.2/kept", "An entry that was made by an earlier request")
async def kept(dial: Dial) -> str:
    """The table belongs to the connection."""
    client = await _put_head(dial)
    return await _expect_head(client, _newest(client))


@TABLES.must("hpack/2.3.2/newest-first", "The newest entry has the lowest index")
async def newest_first(dial: Dial) -> str:
    """With one entry more, the older one has moved up."""
    client = await _put_head(dial)
    await client.send(frames.headers(3, _newest(client) + _filler(100)))
    await client.judge(ANSWERED, 3)
    return await _expect_head(client, hpack.request(client, hpack.indexed(FIRST_DYNAMIC + 1)))


@TABLES.must("hpack/2.3.2/used-in-its-block", "An entry that is used in the block that made it")
async def used_in_its_block(dial: Dial) -> str:
    """As a name, for a second field."""
    client = await dial.http2()
    more = hpack.literal(b"x-field", b"1", INCREMENTAL) + hpack.literal(FIRST_DYNAMIC, b"2")
    await client.send(frames.headers(1, hpack.request(client) + more + hpack.indexed(FIRST_DYNAMIC)))
    return await client.judge(ANSWERED, 1)


@TABLES.must("hpack/6.2.1/dynamic-name", "A literal whose name is in the dynamic table")
async def dynamic_name(dial: Dial) -> str:
    """The name of :method, with the value HEAD again."""
    client = await _put_head(dial)
    return await _expect_head(client, hpack.request(client, hpack.literal(FIRST_DYNAMIC, b"HEAD")))


@TABLES.must("hpack/6.2.2/not-added", "A literal not to be indexed is not in the table")
async def not_added(dial: Dial) -> str:
    """So that there is nothing at index 62."""
    client = await dial.http2()
    await client.send(frames.headers(1, hpack.request(client) + hpack.literal(b"x-field", b"1")))
    await client.judge(ANSWERED, 1)
    return await _expect_undecodable(client, hpack.request(client) + hpack.indexed(FIRST_DYNAMIC))


@TABLES.must("hpack/6.2.3/never-added", "A literal never to be indexed is not in the table")
async def never_added(dial: Dial) -> str:
    """The same."""
    client = await dial.http2()
    field = hpack.literal(b"x-field", b"1", hpack.NEVER_INDEXED)
    await client.send(frames.headers(1, hpack.request(client) + field))
    await client.judge(ANSWERED, 1)
    return await _expect_undecodable(client, hpack.request(client) + hpack.indexed(FIRST_DYNAMIC))


# Requests that are not served change the table all the same


def _after(what: Callable[[Http2Client, bytes], list[bytes]]) -> Question:
    """The entry is made by stream 1, of which something becomes; stream 3 then uses it."""

    async def question(dial: Dial) -> str:
        if not dial.baseline.body_bytes:
            raise Skipped("needs a URL whose answer has content")
        client = await dial.http2()
        await client.send(*what(client, hpack.request(client, HEAD)))
        await client.barrier()
        if client.over:
            raise Skipped(f"the server gave the connection up: {client.situation(1)}")
        return await _expect_head(client, _newest(client))

    return question


TABLES.must("hpack/2.2/after-malformed", "An entry that was made by a malformed request")(
    _after(lambda client, block: [frames.headers(1, block + hpack.literal(b"X-Upper", b"1"))])
)
TABLES.must("hpack/2.2/after-reset", "An entry that was made by a request that is reset at once")(
    _after(lambda client, block: [frames.headers(1, block, end=False), frames.rst_stream(1)])
)
TABLES.must("hpack/2.2/after-continuation", "An entry that was made in CONTINUATION, and cut in two")(
    _after(
        lambda client, block: [
            frames.headers(1, block[:3], end_headers=False),
            frames.continuation(1, block[3:]),
        ]
    )
)


def _trailer_entry(client: Http2Client, _block: bytes) -> list[bytes]:
    return [
        frames.headers(1, hpack.request(client, hpack.literal(METHOD, b"POST")), end=False),
        frames.headers(1, HEAD),
    ]


TABLES.must("hpack/2.2/after-trailers", "An entry that was made by malformed trailers")(_after(_trailer_entry))


@TABLES.must("hpack/2.2/after-refusal", "An entry that was made by a request to a stream that the server has reset")
async def after_refusal(dial: Dial) -> str:
    """Its header block is discarded after it was decoded."""
    if not dial.baseline.body_bytes:
        raise Skipped("needs a URL whose answer has content")
    client = await dial.http2()
    malformed = hpack.request(client, hpack.literal(METHOD, b"POST")) + hpack.literal(b"X-Upper", b"1")
    await client.send(frames.headers(1, malformed, end=False), frames.headers(1, HEAD))
    await client.barrier()
    if client.over:
        raise Skipped(f"the server gave the connection up: {client.situation(1)}")
    return await _expect_head(client, _newest(client))


# Sizes and eviction


@TABLES.must("hpack/4.4/fits-exactly", "Entries that fill the table to the last byte: the oldest is still there")
async def fits_exactly(dial: Dial) -> str:
    """4,096 bytes with 32 for each entry."""
    client = await _put_head(dial)
    await client.send(frames.headers(3, hpack.request(client) + _filler(DEFAULT_TABLE - HEAD_SIZE)))
    await client.judge(ANSWERED, 3)
    return await _expect_head(client, hpack.request(client, hpack.indexed(FIRST_DYNAMIC + 1)))


@TABLES.must("hpack/4.4/one-byte-more", "Entries that are one byte more than the table: the oldest is gone")
async def one_byte_more(dial: Dial) -> str:
    """Evicted."""
    client = await _put_head(dial)
    await client.send(frames.headers(3, hpack.request(client) + _filler(DEFAULT_TABLE - HEAD_SIZE + 1)))
    await client.judge(ANSWERED, 3)
    return await _expect_undecodable(client, hpack.request(client, hpack.indexed(FIRST_DYNAMIC + 1)))


@TABLES.must("hpack/4.4/larger-than-the-table", "A field that is larger than the table empties it, and is no fault")
async def larger_than_the_table(dial: Dial) -> str:
    """Nothing is at index 62 then."""
    client = await _put_head(dial)
    await client.send(frames.headers(3, hpack.request(client) + _filler(DEFAULT_TABLE + 1)))
    await client.judge(ANSWERED, 3)
    return await _expect_undecodable(client, _newest(client))


@TABLES.must("hpack/4.4/name-of-the-evicted", "A field named by the entry that it evicts")
async def name_of_the_evicted(dial: Dial) -> str:
    """The name is looked up before the entry goes."""
    client = await dial.http2()
    fill = hpack.literal(b"x-field", b"v" * (DEFAULT_TABLE - ENTRY_OVERHEAD - len(b"x-field")), INCREMENTAL)
    await client.send(frames.headers(1, hpack.request(client) + fill))
    await client.judge(ANSWERED, 1)
    field = hpack.literal(FIRST_DYNAMIC, b"other", INCREMENTAL)
    await client.send(frames.headers(3, hpack.request(client) + field + hpack.indexed(FIRST_DYNAMIC)))
    return await client.judge(ANSWERED, 3)


@TABLES.must("hpack/4.3/emptied-by-update", "A table size update to zero empties the table")
async def emptied_by_update(dial: Dial) -> str:
    """And one back to 4,096 does not fill it again."""
    client = await _put_head(dial)
    await client.send(
        frames.headers(3, hpack.size_update(0) + hpack.size_update(DEFAULT_TABLE) + hpack.request(client))
    )
    await client.judge(ANSWERED, 3)
    return await _expect_undecodable(client, _newest(client))


@TABLES.must("hpack/4.3/shrunk-by-update", "A table size update to just the size of the newest entry keeps that one")
async def shrunk_by_update(dial: Dial) -> str:
    """An older one goes."""
    client = await dial.http2()
    if not dial.baseline.body_bytes:
        raise Skipped("needs a URL whose answer has content")
    await client.send(frames.headers(1, hpack.request(client) + _filler(100)))
    await client.judge(ANSWERED, 1)
    await client.send(frames.headers(3, hpack.request(client, HEAD)))
    await client.judge(ANSWERED, 3)
    await client.send(frames.headers(5, hpack.size_update(HEAD_SIZE) + _newest(client)))
    await client.judge(ANSWERED, 5)
    if client.answers[5].body:
        raise Failed("the newest entry was lost: a HEAD request was answered with content")
    return await _expect_undecodable(client, hpack.request(client) + hpack.indexed(FIRST_DYNAMIC + 1))


@TABLES.must("hpack/6.3/beyond-the-limit", "A table size update beyond the server's SETTINGS_HEADER_TABLE_SIZE")
async def beyond_the_limit(dial: Dial) -> str:
    """By one byte."""
    client = await dial.http2()
    await client.barrier()
    limit = client.server_settings.get(frames.HEADER_TABLE_SIZE, DEFAULT_TABLE)
    await client.send(frames.headers(1, hpack.size_update(limit + 1) + hpack.request(client)))
    return await client.judge(UNDECODABLE, 1)


# The server's own encoder


async def _answers_decode(dial: Dial, table: int) -> str:
    client = await dial.http2({frames.HEADER_TABLE_SIZE: table})
    await client.until(lambda: client.settings_acks > 0 or client.over)
    client.decoder.max_allowed_table_size = table
    for _ in range(5):
        await client.works()
    return "five answers were decoded"


for _table in (0, 100, 65_536):
    TABLES.must(
        f"hpack/4.2/client-table-{_table}",
        f"The server's header blocks keep to the client's SETTINGS_HEADER_TABLE_SIZE of {_table:,}",
    )(bound(_answers_decode, _table))


@TABLES.must("hpack/4.2/changed-later", "The client's SETTINGS_HEADER_TABLE_SIZE falls to zero between two requests")
async def changed_later(dial: Dial) -> str:
    """The next block must begin with a table size update."""
    client = await dial.http2()
    await client.works()
    await client.send(frames.settings({frames.HEADER_TABLE_SIZE: 0}))
    await client.until(lambda: client.settings_acks >= 2 or client.over)
    client.decoder.max_allowed_table_size = 0
    await client.works()
    return await client.works()


@TABLES.must("hpack/2.2/many-answers", "The header blocks of thirty different answers can all be decoded")
async def many_answers(dial: Dial) -> str:
    """The judge's decoder keeps the same table."""
    client = await dial.http2()
    for number in range(30):
        stream_id = client.next_stream()
        path = dial.target.path.encode() if number % 2 else b"/no/such/resource/%d" % number
        await client.send(client.head(stream_id, client.request(b"GET" if number % 3 else b"HEAD", path)))
        await client.until(lambda: client.ended(stream_id) or client.over)  # noqa: B023 - used before the next round
        if not client.ended(stream_id):
            raise Failed(client.situation(stream_id))
    return "all were decoded"
