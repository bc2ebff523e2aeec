"""The doors for programs that are not ours: here, the Model Context Protocol.

`front.Front` stands between clients and servers and makes each ``tools/call`` a step of a guest
run; everything else passes. `frames` and `eras` are the protocol as data; `upstream` and `child`,
`remote` talk to servers; `terminal`, `door` and `pipe` talk to clients.
"""
