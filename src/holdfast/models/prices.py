"""What calls cost: the price row of a model, and usage times its rates.

The rows are those of ``genai-prices`` (the extra ``models``, read late and offline), or a person's
own. Audio, pictures, batches and the provider's own tools are priced as plain tokens.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.models.exchange import Usage
from holdfast.values.errors import Misuse

RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
"""What a row has rates for."""


class Row(msgspec.Struct, frozen=True):
    """Rates in USD for a million tokens. ``rates``: for each of `RATES` that differs the steps from
    which a rate counts for all tokens, by tokens read: ``[(0, 3.0), (200000, 6.0)]``. ``table``:
    whose row it is, with its version."""

    provider: str
    model: str
    table: str
    rates: dict[str, list[tuple[int, float]]]

    def rate(self, kind: str, read: int) -> float:
        """The rate of one kind of tokens in a request of ``read`` tokens."""
        steps = self._steps(kind)
        if len(steps) == 1 and not steps[0][0]:
            return steps[0][1]
        found = 0.0
        for start, rate in steps:
            if not start or read > start:
                found = rate
        return found

    def told(self, usage: Usage) -> dict[str, Any]:
        """The row as the journal has it: whose it is, and the rates that count for this usage."""
        read = usage.input + usage.cache_read + usage.cache_write
        rates = {kind: self.rate(kind, read) for kind in self.rates}
        return {
            "table": self.table,
            "row": f"{self.provider}.{self.model}",
            "currency": "USD",
            **rates,
        }

    def _steps(self, kind: str) -> list[tuple[int, float]]:
        while kind not in self.rates and kind in _INSTEAD:
            kind = _INSTEAD[kind]
        return self.rates.get(kind, [])

    def cost(self, usage: Usage) -> float:
        """USD for what was used."""
        read = usage.input + usage.cache_read + usage.cache_write
        counts = {
            "input": usage.input,
            "output": usage.output,
            "cache_read": usage.cache_read,
            "cache_write": usage.cache_write - usage.cache_write_1h,
            "cache_write_1h": usage.cache_write_1h,
        }
        return sum(n * self.rate(kind, read) for kind, n in counts.items() if n) / 1_000_000


_INSTEAD = {"cache_write_1h": "cache_write", "cache_write": "input", "cache_read": "input"}
"""Whose rate counts where a row has none."""


class Prices:
    """Rows by provider and model. ``own``: rates in USD for a million tokens, by ``PROVIDER.MODEL``
    (``*`` at the end stands for all models that begin so); they count before the table's."""

    def __init__(self, own: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._own = {name: _own_row(name, rates) for name, rates in (own or {}).items()}
        self._rows: dict[tuple[str, str, int], Row | None] = {}
        self._table: Any = None
        self._absent = False

    def row(self, provider: str, model: str, now_ms: int, url: str = "") -> Row | None:
        """The row that counts now; None: nobody knows the price. ``url``: of the provider, for one
        that is not known by its name."""
        wanted = f"{provider}.{model}"
        for name, row in self._own.items():
            if wanted == name or (name.endswith("*") and wanted.startswith(name[:-1])):
                return row
        key = (provider, model, now_ms // 3_600_000)  # prices change by the hour at most
        if key not in self._rows:
            if len(self._rows) >= _KEPT:
                self._rows.clear()
            self._rows[key] = self._look(provider, model, now_ms, url)
        return self._rows[key]

    def load(self) -> None:
        """Read the table, which takes some tenths of a second, before the first call needs it."""
        if self._table is None and not self._absent:
            try:
                import genai_prices.data_snapshot as table
            except ImportError:
                self._absent = True
            else:
                self._table = table.get_snapshot()

    def _look(self, provider: str, model: str, now_ms: int, url: str) -> Row | None:
        self.load()
        if self._table is None:
            return None
        known = [(_ALIASES.get(provider, provider), None), *([(None, url)] if url else [])]
        for provider_id, provider_url in known:
            try:
                by, found = self._table.find_provider_model(model, None, provider_id, provider_url)
            except LookupError:
                continue
            at = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
            return _table_row(by.id, found.id, found.get_prices(at))
        return None

    def why_unknown(self, provider: str, model: str) -> str:
        """One line on a model without a row, and the way out."""
        way = "add it under `prices` of the proxy's settings"
        if self._absent:
            return f"the price of {provider}.{model} is unknown: pip install 'holdfast[models]'"
        return f"the price of {provider}.{model} is unknown: {way}"


_KEPT = 1_000
_ALIASES = {"gemini": "google"}


def _own_row(name: str, rates: Mapping[str, float]) -> Row:
    for kind, rate in rates.items():
        if kind not in RATES or type(rate) not in (int, float) or not 0 <= rate < 1e9:
            raise Misuse(
                f"price of {name}: {kind}={rate!r}; say USD for a million tokens of "
                f"{', '.join(RATES)}"
            )
    if not {"input", "output"} <= rates.keys():
        raise Misuse(f"price of {name}: it needs `input` and `output`")
    provider, _, model = name.partition(".")
    steps = {kind: [(0, float(rate))] for kind, rate in rates.items()}
    return Row(provider, model, "settings", steps)


def _table_row(provider: str, model: str, prices: Any) -> Row | None:
    """None where the table has no rate for text."""
    rates: dict[str, list[tuple[int, float]]] = {}
    for kind in RATES:
        price = getattr(prices, f"{kind}_mtok", None)
        if price is not None:
            tiers = [(one.start, float(one.price)) for one in getattr(price, "tiers", ())]
            rates[kind] = [(0, float(getattr(price, "base", price))), *tiers]
    if not {"input", "output"} <= rates.keys():
        return None
    return Row(provider, model, f"genai-prices {_version()}", rates)


def _version() -> str:
    from importlib.metadata import version

    return version("genai-prices")
