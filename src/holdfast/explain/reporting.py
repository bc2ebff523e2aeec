"""The report: per control the evidence found, its gaps and owner; as Markdown, HTML or JSON.

It says what was recorded. Whether that is enough is for persons to judge, so it never says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec

from holdfast.explain.evidence import KINDS, Collected
from holdfast.explain.frameworks import Control, Framework
from holdfast.values.masking import fit

INTRODUCTION: Final = (
    "This report lists what the record shows about each control. It draws no conclusion: whether "
    "the evidence is enough, and everything under “your own work”, is for the organisation to "
    "judge."
)


class Found(msgspec.Struct, frozen=True):
    """Evidence of one kind for a control: what it is, how much, examples as (RUN#POS, words)."""

    kind: str
    meaning: str
    count: int
    examples: tuple[tuple[str, str], ...]


class Row(msgspec.Struct, frozen=True):
    """One control with what was found. ``gaps``: kinds of evidence of which there is none."""

    id: str
    title: str
    applies: str
    owner: str
    found: tuple[Found, ...]
    gaps: tuple[str, ...]
    yours: str


class Section(msgspec.Struct, frozen=True):
    """One framework."""

    name: str
    title: str
    source: str
    as_of: str
    note: str
    rows: tuple[Row, ...]


class Reported(msgspec.Struct, frozen=True):
    """A whole report. Times are ms since 1970; ``store``: what the record is called."""

    store: str
    made: int
    since: int
    first: int
    last: int
    introduction: str
    sections: tuple[Section, ...]


def compose(
    frameworks: Sequence[Framework],
    evidence: Collected,
    *,
    store: str,
    made: int,
    since: int = 0,
    owners: dict[str, str] | None = None,
) -> Reported:
    """The report over ``evidence``. ``owners``: who answers for a control, by its id or by the name
    of its framework."""
    sections = tuple(
        Section(
            one.framework, one.title, one.source, one.as_of, one.note,
            tuple(_row(control, one.framework, evidence, owners or {}) for control in one.controls),
        )
        for one in frameworks
    )  # fmt: skip
    return Reported(fit(store), made, since, evidence.first, evidence.last, INTRODUCTION, sections)


def _row(control: Control, name: str, evidence: Collected, owners: dict[str, str]) -> Row:
    found: list[Found] = []
    gaps: list[str] = []
    for kind in control.evidence:
        one = evidence.found[kind]
        if one.count:
            shown = tuple((place, fit(words, 120)) for place, words in reversed(one.examples))
            found.append(Found(kind, KINDS[kind], one.count, shown))
        else:
            gaps.append(KINDS[kind])
    owner = owners.get(control.id) or owners.get(name) or ""
    return Row(
        control.id, control.title, control.applies, fit(owner), tuple(found), tuple(gaps),
        control.yours,
    )  # fmt: skip


def as_json(report: Reported) -> Any:
    """The report as plain JSON values."""
    return msgspec.to_builtins(report)


def _day(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%Y-%m-%d") if ms else "-"


def _span(report: Reported) -> str:
    since = f", counted since {_day(report.since)}" if report.since else ""
    return f"record from {_day(report.first)} to {_day(report.last)}{since}"


# Markdown ---------------------------------------------------------------------------------------

_MARKS = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#"})


def _md(text: str) -> str:
    return text.translate(_MARKS)


def as_markdown(report: Reported) -> str:
    """The report as Markdown; nothing of the record is taken for markup."""
    lines = [
        f"# Evidence from {_md(report.store)}", "",
        f"Made {_day(report.made)}; {_span(report)}.", "", report.introduction, "",
    ]  # fmt: skip
    for section in report.sections:
        shown = sum(bool(row.found) for row in section.rows)
        count = f"Evidence for {shown} of {len(section.rows)} controls."
        source = f"Source: <{section.source}>; mapping of {section.as_of}. {count}"
        lines += [f"## {section.title}", "", source, ""]
        lines += [section.note, ""] if section.note else []
        for row in section.rows:
            lines += _md_row(row)
    return "\n".join(lines)


def _md_row(row: Row) -> list[str]:
    lines = [f"### {row.id}: {row.title}", ""]
    if row.applies:
        lines.append(f"- applies from: {row.applies}")
    lines.append(f"- owner: {_md(row.owner) or '**none named**'}")
    for found in row.found:
        lines.append(f"- {found.meaning}: {found.count:,}")
        lines += [f"  - `{place}` {_md(words)}" for place, words in found.examples]
    lines += [f"- **gap**: no {gap}" for gap in row.gaps]
    if not row.found and not row.gaps:
        lines.append("- **gap**: the record holds no evidence of this kind")
    lines += [f"- your own work: {row.yours}", ""]
    return lines


# HTML -------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--page:#fff;
--card:#f6f8fa;--have:#176b3a;--gap:#9a5b00}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--line:#333c48;
--page:#12161c;--card:#1a2028;--have:#6fce97;--gap:#f0b45c}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2.5rem 1.25rem 5rem;background:var(--page);
color:var(--ink);font:16px/1.55 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .4rem}h2{font-size:1.25rem;margin:3rem 0 .3rem}
p{margin:.4rem 0}.soft{color:var(--soft);font-size:.9rem}a{color:inherit}
nav{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;margin:1rem 0;font-size:.9rem}
article{border:1px solid var(--line);border-radius:8px;margin:.8rem 0;padding:.9rem 1.1rem;
background:var(--card);break-inside:avoid}
h3{font-size:1rem;margin:0 0 .5rem}h3 b{display:inline-block;min-width:6.5rem;padding-right:.8rem}
ul{margin:.3rem 0;padding-left:1.1rem}ul ul{color:var(--soft);font-size:.85rem}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
.count{color:var(--have);font-weight:600;font-variant-numeric:tabular-nums}
.gap{color:var(--gap)}dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .9rem;
margin:.6rem 0 0;font-size:.9rem}dt{color:var(--soft)}dd{margin:0}
@media(max-width:32rem){body{padding-top:1.5rem}h2{margin-top:2rem}h3 b{display:block}
dl{grid-template-columns:1fr}dd{margin-bottom:.35rem}}
@media print{body{max-width:none;padding:0}article{background:none}}
"""


def as_html(report: Reported) -> str:
    """The report as one HTML page that loads nothing."""
    # INVARIANT J63: every text of the record and of data is escaped where it enters the page
    top = (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
        "style-src 'unsafe-inline'\">"
        f"<title>Evidence from {escape(report.store)}</title><style>{_STYLE}</style>"
        f"<h1>Evidence from {escape(report.store)}</h1>"
        f"<p class=soft>Made {_day(report.made)}; {escape(_span(report))}.</p>"
        f"<p>{escape(report.introduction)}</p><nav>"
    )
    parts = [
        top,
        *(
            f'<a href="#{escape(section.name)}">{escape(section.title)}</a>'
            for section in report.sections
        ),
        "</nav>",
    ]
    for section in report.sections:
        parts += _html_section(section)
    return "\n".join(parts) + "\n</html>\n"


def _html_section(section: Section) -> list[str]:
    shown = sum(bool(row.found) for row in section.rows)
    head = (
        f'<section id="{escape(section.name)}"><h2>{escape(section.title)}</h2>'
        f"<p class=soft>Evidence for {shown} of {len(section.rows)} controls. Mapping of "
        f'{escape(section.as_of)}; source: <a href="{escape(section.source)}">'
        f"{escape(section.source)}</a></p>"
    )
    return [
        head,
        f"<p class=soft>{escape(section.note)}</p>" if section.note else "",
        *(_html_row(row) for row in section.rows),
        "</section>",
    ]


def _html_row(row: Row) -> str:
    items = "".join(
        f"<li>{escape(found.meaning)}: <span class=count>{found.count:,}</span><ul>"
        + "".join(
            f"<li><code>{escape(place)}</code> {escape(words)}" for place, words in found.examples
        )
        + "</ul>"
        for found in row.found
    )
    gaps = row.gaps or (() if row.found else ("evidence of this kind in the record",))
    items += "".join(f"<li class=gap>Gap: no {escape(gap)}" for gap in gaps)
    owner = escape(row.owner) or "<span class=gap>none named</span>"
    applies = f"<dt>Applies from<dd>{escape(row.applies)}" if row.applies else ""
    return (
        f"<article><h3><b>{escape(row.id)}</b>{escape(row.title)}</h3><ul>{items}</ul>"
        f"<dl>{applies}<dt>Owner<dd>{owner}<dt>Your own work<dd>{escape(row.yours)}</dl></article>"
    )
