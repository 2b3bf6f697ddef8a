"""Usage events through Redis: the names, the entries, and what is done in one step there.

=================================  =================================================================================
key                                what it is
=================================  =================================================================================
``{gateway}:usage``                the stream; an entry is a piece of a file (see :class:`Piece`)
``{gateway}:usage:<node>``         a hash with a field a piece of that node, ``<file>:<begin>:<end>``: the id of its
                                   entry while it is in the stream, ``+`` once the ledger has it
``{gateway}:usage:nodes``          a hash with what each node is behind by (see :class:`Behind`)
``{gateway}:usage:ledger``         the name of the ledger that usage goes into, while any sidecar of it runs
``{gateway}:usage:tried``          a hash with how often lines that may end a process were begun, ``<source>:<at>``
=================================  =================================================================================

A piece and its field come and go together, so a node knows from the hash alone what is on its way, what has arrived,
and, where Redis lost its memory, that neither is so. Redis 6.2 or later is needed.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

PREFIX = "{gateway}:usage"
STREAM = PREFIX
NODES = f"{PREFIX}:nodes"
TRIED = f"{PREFIX}:tried"
LEDGER = f"{PREFIX}:ledger"
GROUP = "ledger"
ENTERED = b"+"
HELD = 30  # seconds that the ledger of a sidecar which is no more keeps others out
KEPT = 7 * 86_400  # seconds that the hash of a node which is no more is kept
ANSWER_SECONDS = 3.0
_numbers = itertools.count(secrets.randbits(48))  # from a random one in each process

_FIELD = re.compile(rb"([\x20-\x7e]+):(\d{1,18}):(\d{1,18})")
_ENTRY = re.compile(rb"\d{1,20}-\d{1,20}")
_encode = msgspec.json.Encoder().encode

# KEYS: the stream, the node's hash. ARGV: the field, seconds, a number, then names and values of the entry.
# An id must never come again, also where the stream was lost, or its server's clock went back: whoever still has an
# entry of before would confirm, and remove, what is another. So its second part is a number that nobody else has; where
# the clock is not beyond the last id, the millisecond after that stands for now, never Redis' own count.
SEND = """
local now = redis.call('TIME')
local wanted = string.format('%s%03d-%s', now[1], math.floor(now[2] / 1000), ARGV[3])
local id = redis.pcall('XADD', KEYS[1], wanted, unpack(ARGV, 4))
if type(id) == 'table' then
  local told = redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #told, 2 do
    if told[at] == 'last-generated-id' then
      wanted = string.format('%.0f-%s', tonumber(string.match(told[at + 1], '^%d+')) + 1, ARGV[3])
    end
  end
  id = redis.call('XADD', KEYS[1], wanted, unpack(ARGV, 4))
end
redis.call('HSET', KEYS[2], ARGV[1], id)
redis.call('EXPIRE', KEYS[2], ARGV[2])
return id
"""

# KEYS: the stream, the node's hash. ARGV: the group, the entry's id, the field.
ENTER = """
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[2] then redis.call('HSET', KEYS[2], ARGV[3], '+') end
"""

# KEYS: the stream, the node's hash. ARGV: fields and ids in turn. Gives how many entries were gone.
FORGET_GONE = """
local gone = 0
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1]
    and #redis.call('XRANGE', KEYS[1], ARGV[at + 1], ARGV[at + 1]) == 0 then
    redis.call('HDEL', KEYS[2], ARGV[at])
    gone = gone + 1
  end
end
return gone
"""

# KEYS: the stream. ARGV: the group, the consumer, milliseconds. Whoever holds entries stays: they would be lost to all.
REMOVE_IDLE = """
for _, told in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local found = {}
  for at = 1, #told, 2 do found[told[at]] = told[at + 1] end
  if found.name == ARGV[2] and found.pending == 0 and found.idle >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
"""

# KEYS: the name of the ledger. ARGV: the name of ours, seconds. Gives whose it is.
HOLD_LEDGER = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
"""

# KEYS: the stream. Gives its length and the milliseconds since its first entry was added.
OLDEST = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then return {0, 0} end
local now = redis.call('TIME')
local age = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(first[1], '^%d+'))
return {redis.call('XLEN', KEYS[1]), age}
"""


class Piece(Struct, frozen=True):
    """What a file holds from ``begin`` until ``end``, in bytes: whole lines, each with its end.

    ``fault`` is why it is none where it is none; ``data`` is then the beginning of what is there.
    """

    begin: int
    end: int
    data: bytes
    fault: str | None = None


class Flight(Struct, frozen=True):
    """A piece that was sent. ``entry`` is the id of its entry, None once the ledger has it."""

    file: str
    begin: int
    end: int
    entry: str | None

    @property
    def field(self) -> str:
        """Its name in the hash of its node."""
        return field(self.file, self.begin, self.end)


class Behind(Struct, frozen=True):
    """What a node has written and the ledger has not confirmed, in bytes: not yet in Redis, and in Redis.

    ``since_ms`` is the Unix time since when some is ``unsent``, ``at_ms`` when this was told.
    """

    unsent: int
    sent: int
    since_ms: int | None
    at_ms: int


def node_key(node: str) -> str:
    """The hash of a node."""
    return f"{PREFIX}:{node}"


def field(file: str, begin: int, end: int) -> str:
    """The name of a piece in the hash of its node."""
    return f"{file}:{begin}:{end}"


def flights(told: Mapping[bytes, bytes]) -> list[Flight]:
    """What the hash of a node tells, in the order of files and positions; a field that is none of ours is left out."""
    found = []
    for name, value in told.items():
        match = _FIELD.fullmatch(name)
        if match is not None and (value == ENTERED or _ENTRY.fullmatch(value)):
            entry = None if value == ENTERED else value.decode()
            found.append(Flight(match[1].decode(), int(match[2]), int(match[3]), entry))
    return sorted(found, key=lambda each: (each.file, each.begin, each.end))


def send(pipe: Any, node: str, file: str, piece: Piece) -> None:
    """Have a pipeline add a piece."""
    fields: list[str | bytes | int] = ["s", f"{node}/{file}", "b", piece.begin, "e", piece.end, "d", piece.data]
    if piece.fault is not None:
        fields += ["f", piece.fault]
    name = field(file, piece.begin, piece.end)
    pipe.eval(SEND, 2, STREAM, node_key(node), name, KEPT, next(_numbers), *fields)


def entered(pipe: Any, entry: str, source: str, piece: Piece) -> None:
    """Have a pipeline tell that the ledger has a piece, and drop its entry."""
    node, _, file = source.partition("/")
    pipe.eval(ENTER, 2, STREAM, node_key(node), GROUP, entry, field(file, piece.begin, piece.end))


def received(fields: Mapping[bytes, bytes]) -> tuple[str, Piece]:
    """The source, ``<node>/<file>``, and the piece of an entry. Raises ValueError for what is none of ours."""
    try:
        source = fields[b"s"].decode()
        begin, end = int(fields[b"b"]), int(fields[b"e"])
        data = fields[b"d"]
    except KeyError as error:
        raise ValueError(f"the entry has no field {error.args[0].decode()}") from None
    if not (0 <= begin < end and source.partition("/")[2]):
        raise ValueError(f"the entry is of {source} from {begin} until {end}")
    fault = fields.get(b"f")
    return source, Piece(begin, end, data, None if fault is None else fault.decode(errors="replace"))


def told(behind: Behind) -> bytes:
    """As it is kept in Redis."""
    return _encode(behind)


behind_of = msgspec.json.Decoder(Behind).decode
