// A run's events as a list of which only the rows in sight exist. Pages of it are fetched as needed.
import { Component, render } from "./vendor/preact.js";
import { html } from "./html.js";

const ROW = 26; // px, as in the sheet
const PAGE = 200; // events fetched at once
const SPARE = 12; // rows kept beyond the edges
const IDLE = 60_000; // ms without an event that are folded into a mark
const LANES = 6;

export function span(ms) {
  for (const [unit, length] of [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000]]) {
    if (ms >= length * 2) return `${Math.floor(ms / length)} ${unit}`;
  }
  return `${Math.floor(ms / 1000)} s`;
}

function clock(ms) {
  const at = new Date(ms);
  const two = (n) => String(n).padStart(2, "0");
  const day = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return `${day}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

const taskOf = (key) => (key.includes(".") ? key.slice(0, key.lastIndexOf(".")) : "");

export class Timeline extends Component {
  constructor(props) {
    super(props);
    this.rows = new Map();
    this.asked = new Set();
    this.lanes = new Map([["", 0]]);
    this.state = { last: props.last, top: 0, tall: 600, at: 0, text: "", found: null, busy: false };
    this.stick = !["done", "failed", "cancelled"].includes(props.status);
  }

  async fetch(page) {
    if (this.asked.has(page)) return;
    this.asked.add(page);
    const url = `/api/v1/runs/${encodeURIComponent(this.props.run)}/events`;
    try {
      const reply = await fetch(`${url}?start=${page * PAGE}&limit=${PAGE}`);
      if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
      for (const row of (await reply.json()).events) this.keep(row);
    } catch {
      this.asked.delete(page);
    }
    this.setState({});
  }

  keep(row) {
    const task = taskOf(row.key ?? "");
    if (!this.lanes.has(task)) this.lanes.set(task, this.lanes.size);
    this.rows.set(row.pos, row);
  }

  need(first, stop) {
    const newest = Math.floor(this.state.last / PAGE);
    for (let page = Math.floor(first / PAGE); page <= Math.min(newest, Math.floor(stop / PAGE)); page++) {
      this.fetch(page);
    }
  }

  componentDidMount() {
    const measure = () => this.setState({ tall: this.view.clientHeight });
    measure();
    new ResizeObserver(measure).observe(this.view);
    document.body.addEventListener("news", (event) => this.news(event.detail));
    document.addEventListener("keydown", (event) => this.key(event), true);
    if (this.stick) this.select(this.state.last);
    else this.select(0);
  }

  news(row) {
    if (row.run !== this.props.run || row.pos < 0) return;
    if (row.pos <= this.state.last && this.rows.has(row.pos)) return;
    this.keep(row);
    if (row.pos > this.state.last + 1) this.asked.clear();
    const below = this.view.scrollTop + this.view.clientHeight >= this.state.last * ROW;
    this.setState({ last: Math.max(this.state.last, row.pos) }, () => {
      if (this.stick && below && !this.state.found) this.view.scrollTop = this.state.last * ROW;
    });
  }

  list() {
    return this.state.found ?? { length: this.state.last + 1 };
  }

  posOf(index) {
    return this.state.found ? this.state.found[index] : index;
  }

  select(index) {
    const at = Math.max(0, Math.min(this.list().length - 1, index));
    this.setState({ at }, () => {
      const top = at * ROW;
      if (top < this.view.scrollTop) this.view.scrollTop = top;
      if (top + ROW > this.view.scrollTop + this.view.clientHeight) {
        this.view.scrollTop = top + ROW - this.view.clientHeight;
      }
    });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.getElementById("keys")?.open) return;
    if (event.target.matches("input, textarea, select")) return;
    const inside = this.view.contains(event.target);
    const page = Math.max(1, Math.floor(this.state.tall / ROW) - 1);
    const steps = { j: 1, k: -1 };
    if (inside) {
      Object.assign(steps, { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page });
      Object.assign(steps, { Home: -Infinity, End: Infinity });
    }
    const loose = inside || document.activeElement === document.body;
    if (event.key in steps) this.select(this.state.at + steps[event.key]);
    else if (event.key === "Enter" && loose) location.assign(this.link(this.posOf(this.state.at)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  link(pos) {
    return `/runs/${encodeURIComponent(this.props.run)}/events/${pos}`;
  }

  async search(text) {
    this.wanted = text.trim().toLowerCase();
    if (!this.wanted) return this.setState({ text, found: null, busy: false, at: 0 });
    this.setState({ text, busy: true });
    const mine = this.wanted;
    for (let page = 0; page * PAGE <= this.state.last; page++) {
      await this.fetch(page);
      if (this.wanted !== mine) return;
    }
    const found = [];
    for (let pos = 0; pos <= this.state.last; pos++) {
      const row = this.rows.get(pos);
      const said = row && `${row.key} ${row.kind} ${row.text} ${row.outcome} ${row.verdict}`;
      if (said?.toLowerCase().includes(mine)) found.push(pos);
    }
    this.view.scrollTop = 0;
    this.setState({ found, busy: false, at: 0 });
  }

  row(index) {
    const pos = this.posOf(index);
    const row = this.rows.get(pos);
    const place = { top: `${index * ROW}px` };
    const common = { class: "tl-row", style: place, id: `tl-${pos}`, role: "row", key: pos,
      "aria-rowindex": index + 1, "aria-selected": index === this.state.at };
    if (!row) return html`<div ...${common}><span role="gridcell" class="pos">${pos}</span></div>`;
    const older = this.rows.get(this.posOf(index - 1));
    const idle = older ? row.at - older.at : 0;
    if (idle >= IDLE) Object.assign(common, { class: "tl-row gap", "data-gap": `${span(idle)} idle` });
    const key = row.key ?? "";
    const lane = (this.lanes.get(taskOf(key)) ?? 0) % LANES;
    const deep = { marginLeft: `${Math.min(4, key.split(".").length - 1) * 6}px` };
    const word = (row.verdict || "").split(" ")[0];
    return html`<div ...${common} onClick=${() => this.select(index)}>
      <span role="gridcell" class="pos"><a href=${this.link(pos)} tabindex="-1">#${pos}</a></span>
      <span role="gridcell" class="at">${clock(row.at)}</span>
      <span role="gridcell" class="lane" title=${key ? `step ${key}` : row.kind}>
        <span class=${`dot lane${lane}`} style=${deep}></span>${key}</span>
      <span role="gridcell">${row.text || row.kind}</span>
      <span role="gridcell" class=${row.body?.status || ""}>${row.outcome}</span>
      <span role="gridcell" class=${`verdict ${word}`}>${row.verdict}</span>
    </div>`;
  }

  render(_, state) {
    const total = this.list().length;
    const first = Math.max(0, Math.floor(state.top / ROW) - SPARE);
    const stop = Math.min(total, Math.ceil((state.top + state.tall) / ROW) + SPARE);
    if (!state.found) queueMicrotask(() => this.need(first, Math.max(first, stop - 1)));
    const rows = [];
    for (let index = first; index < stop; index++) rows.push(this.row(index));
    const loaded = !state.found && rows.length && this.rows.has(this.posOf(first));
    const said = state.found
      ? `${state.found.length.toLocaleString("en")} of ${(state.last + 1).toLocaleString("en")} events`
      : `${(state.last + 1).toLocaleString("en")} events`;
    return html`<div class="tl" data-ready=${loaded || state.found ? "" : null}>
      <div class="tl-tools">
        <label>Find <input type="search" data-search value=${state.text}
          onInput=${(event) => this.search(event.target.value)} placeholder="in all events" /></label>
        <span role="status">${state.busy ? "searching…" : said}</span>
        <span class="dim"><kbd>j</kbd> <kbd>k</kbd> <kbd>Enter</kbd></span>
      </div>
      <div class="tl-view" role="grid" tabindex="0" aria-label="Events" aria-readonly="true"
        aria-rowcount=${total} aria-activedescendant=${total ? `tl-${this.posOf(state.at)}` : null}
        style=${{ height: `min(68vh, ${Math.max(4, total) * ROW + 2}px)` }}
        ref=${(view) => { if (view) this.view = view; }}
        onScroll=${(event) => this.setState({ top: event.target.scrollTop })}>
        <div class="tl-pad" role="rowgroup" style=${{ height: `${total * ROW}px` }}>${rows}</div>
      </div>
    </div>`;
  }
}

const place = document.getElementById("timeline");
if (place) {
  const { run, last, status } = place.dataset;
  place.replaceChildren();
  render(html`<${Timeline} run=${run} last=${Number(last)} status=${status} />`, place);
}
