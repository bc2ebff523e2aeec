"""What models speak: requests and responses of each dialect, read and written as plain data.

Pure: bytes in, values out, no sockets and no clock. `dialects` lists the dialects, `exchange` is
what all of them are read into, `sse` the framing of streams, `prices` what a call costs, `prefix`
where a conversation stopped being a continuation of itself.
"""
