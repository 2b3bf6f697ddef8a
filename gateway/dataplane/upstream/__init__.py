"""The upstream client: pooled HTTP/1.1 over ``asyncio.Protocol`` and ``httptools``.

One :class:`~gateway.dataplane.upstream.pool.Pool` per provider hands out connections; a connection feeds one
:class:`~gateway.dataplane.upstream.connection.Handler` at a time by plain calls, so a relayed event costs no task
switch.
"""
