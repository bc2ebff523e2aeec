"""Agents whose runs the tests look at. They are copied beside the store and run for real."""

import asyncio

import holdfast
from holdfast.tools import world

EVIL = "<script>window.owned = 1</script><img src=x onerror='window.owned = 2'>\u202etxt.exe"


@holdfast.tool(effect="read")
async def look(n: int) -> dict:
    return {"n": n, "text": f"page {n}"}


@holdfast.tool(effect="read")
async def fetch(url: str) -> str:
    return f"{url} says {EVIL}"


@holdfast.tool(effect="read")
async def price(item: str) -> dict:
    return {"item": item, "price": 12, "currency": "EUR"}


@holdfast.tool(effect="once")
async def refund(order: str, amount: int, iban: str) -> str:
    return f"refunded {amount} to {iban} for {order}"


@holdfast.agent
async def long(count: int) -> int:
    for n in range(count):
        await look(n)
    return count


@holdfast.agent
async def evil(more: str = "") -> str:
    return await fetch("https://example.org/" + EVIL + more)


@holdfast.agent
async def support(order: str = "A-17", iban: str = "DE89370400440532013000") -> str:
    found = await price(order)
    pages = await holdfast.gather(look(1), look(2), look(3))
    return await refund(order, found["price"] + len(pages), iban)


@holdfast.agent
async def colour() -> str:
    return await holdfast.ask("Which colour shall the shed have?", choices=["red", "green"])


@holdfast.agent
async def parent() -> list:
    children = [await holdfast.spawn(quick, n) for n in (2, 3)]
    return [await child.result() for child in children]


@holdfast.agent
async def writer(name: str, text: str) -> None:
    await world.write("plan.md", "# Plan\n\nmilk\nbread\n")
    await world.write(name, text)
    await world.edit("plan.md", "bread", "rye bread")


@holdfast.agent
async def quick(n: int = 1) -> dict:
    await asyncio.sleep(0.01)
    return await look(n)


@holdfast.agent
async def broken() -> None:
    await look(1)
    raise ValueError("the ledger does not balance")


@holdfast.agent
async def paced() -> int:
    for _ in range(2):
        await look(await holdfast.wait_for("next"))
    return 2


@holdfast.agent
async def line(text: str) -> None:
    await world.write("line.txt", text + "\n")


@holdfast.agent
async def writers() -> None:
    await world.write("line.txt", "none\n")
    for child in [await holdfast.spawn(line, text) for text in ("one", "two")]:
        await child.result()
