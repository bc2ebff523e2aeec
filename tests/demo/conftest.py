"""No test of the demo asks the model of whoever runs it."""

from collections.abc import Iterator

import pytest

from tests.demo.support import listening


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider is set."""
    for provider in ("OPENAI", "ANTHROPIC"):
        for what in ("API_KEY", "BASE_URL", "MODEL"):
            monkeypatch.delenv(f"{provider}_{what}", raising=False)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, no_model: None) -> Iterator[str]:
    """The address of a model."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with listening() as address:
        yield address
