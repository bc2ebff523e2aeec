"""Models: what they speak, and asking them.

Pure, bytes in and values out: `dialects` lists the dialects, `exchange` is what all of them are
read into, `sse` the framing of streams, `prices` what a call costs, `prefix` where a conversation
stopped being a continuation of itself.

For agents of our own: `model` asks (by `endpoint` over the wire, by `through` with pydantic-ai),
`bodies` and `menu` write requests, `replies` reads answers, `loop` calls tools until it is done.
"""
