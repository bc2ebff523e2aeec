"""The interface against its own description, tried by schemathesis on a seeded store."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import load_all_checks

from holdfast.api.site import Site
from holdfast.values import limits
from tests.api.sites import TOKENS, served_site

SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "20261121"))
EXAMPLES = 3
HEALTH: Any = list(HealthCheck)
REJECTED = [*map(str, (400, 401, 403, 404, 405, 409, 413, 415, 429))]


CHECKS = {"checks": {"negative_data_rejection": {"expected-statuses": REJECTED}}}
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SIGNIN_ATTEMPTS", 10**9)  # wrong tokens are among what is tried
        with served_site(tmp_path_factory.mktemp("site")) as found:
            yield found


def test_every_operation_does_as_described(place: tuple[str, Site]):
    """Every check that there is, with paths that name nothing and with those of seeded runs."""
    load_all_checks()
    address, site = place
    root = asyncio.run(site.store.head("read")).world
    headers = {"Authorization": f"Bearer {TOKENS['admin']}"}
    schema = schemathesis.openapi.from_url(
        f"{address}/api/v1/openapi.json", headers=headers,
        config=schemathesis.Config.from_dict(CHECKS),
    ).exclude(path="/api/v1/live")  # it does not end  # fmt: skip
    print(f"seed {SEED} (another: HOLDFAST_TEST_SEED)")
    tried = Counter[int]()
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue]  # else it fails
        ways: list[Any] = [(POSITIVE, None), (NEGATIVE, None)]
        for run in ("shop", "read") if "{" in operation.path else ():
            known = {"run": run, "step": "1", "pos": 0, "root": root}
            named = {
                name: value for name, value in known.items() if f"{{{name}}}" in operation.path
            }
            ways += [(POSITIVE, named), (NEGATIVE, named)]
        for mode, named in ways:

            @seed(SEED)
            @settings(max_examples=EXAMPLES, deadline=None, database=None,
                      phases=[Phase.generate], suppress_health_check=HEALTH)  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode, path_parameters=named))
            def try_it(case: schemathesis.Case) -> None:
                tried[case.call_and_validate(headers=headers).status_code] += 1

            try_it()
    assert tried[200] > 20, tried
    assert tried[400] > 20, tried
