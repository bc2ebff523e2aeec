"""Makes runs go, wait, resume and fork: look, judge, plan, perform, settle.

The engine decides; stores and tools act. It reads no clock and rolls no dice but through the ports,
and it never touches sockets, processes or files itself.
"""
