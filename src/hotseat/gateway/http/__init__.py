"""HTTP/1.1 as bytes: connections of clients and to engines, over llhttp (httptools) and asyncio's protocols.

Belongs here: framing, flow control, limits on bytes and connections. Forbidden here: models, seats, dialects, tasks.
Everything is a callback on the event loop's thread: a request that needs no waiting makes no task.
"""
