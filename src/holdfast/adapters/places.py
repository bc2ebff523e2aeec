"""Where in a LangGraph graph a call is made: the part of its key that is the same on a resume."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook
from langgraph.checkpoint.memory import InMemorySaver

from holdfast.values.canon import digest

_around: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("holdfast_around", default=())
"""Of the graphs that are running inside each other here: namespace and step of each one's node."""


def place() -> str:
    """The node that is running, as sixteen digits; "" outside of any graph.

    The thread, and of each graph from the outermost in: the node, the step, and its path among the
    nodes of that step. Never LangGraph's ids of nodes and states, which each process makes anew.
    """
    config = var_child_runnable_config.get() or {}
    metadata: dict[str, Any] = config.get("metadata") or {}
    ns = metadata.get("langgraph_checkpoint_ns")
    if not ns:
        return ""
    given = config.get("configurable") or {}
    saver, thread = given.get("__pregel_checkpointer"), given.get("thread_id")
    kept = saver is not None and not isinstance(saver, InMemorySaver)
    names = [part.partition(":")[0] for part in ns.split("|")]
    around = [one for outer, one in _around.get() if ns.startswith(f"{outer}|")]
    whole = [str(thread) if kept else "", *names, *around, _step(metadata)]
    return digest(repr(whole).encode())[:16]


def _step(metadata: dict[str, Any]) -> str:
    return f"{metadata.get('langgraph_step')} {metadata.get('langgraph_path')}"


class _Around(BaseCallbackHandler):
    """Notes each node that begins, for the graphs inside of it: these are told its name only."""

    run_inline = True  # in the context of the node itself

    @property
    def ignore_llm(self) -> bool:
        """Nothing is noted of models."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """Nothing is noted of models."""
        return True

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """A node, or something in it, begins."""
        told = metadata or {}
        ns, known = told.get("langgraph_checkpoint_ns"), _around.get()
        if ns and (not known or known[-1][0] != ns):
            outer = (one for one in known if ns.startswith(f"{one[0]}|"))
            _around.set((*outer, (ns, _step(told))))


_note = _Around()
_watch: ContextVar[Any] = ContextVar("holdfast_watch", default=_note)
register_configure_hook(_watch, inheritable=True)
