// A patch that the server rendered as lines, made easier to read: what changed within a line is
// marked, files fold, and both sides can stand beside each other.
import { Component, render } from "./vendor/preact.js";
import { html } from "./html.js";

const MOST = 4000; // lines beyond which a patch is left as it is
const FEW = 8; // lines that need no tools

export function split(a, b) {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  const room = Math.min(a.length, b.length) - start;
  while (end < room && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  return [start, end];
}

function marked(text, [start, end]) {
  const middle = text.slice(start, text.length - end);
  if (!middle || (!start && !end)) return text;
  return html`${text.slice(0, start)}<mark>${middle}</mark>${text.slice(text.length - end)}`;
}

export function paired(lines) {
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (lines[at].kind !== "del") {
      found.push({ ...lines[at++] });
      continue;
    }
    let stop = at;
    while (lines[stop]?.kind === "del") stop++;
    let last = stop;
    while (lines[last]?.kind === "add") last++;
    for (let n = 0; n < Math.max(stop - at, last - stop); n++) {
      const old = at + n < stop ? lines[at + n] : null;
      const now = stop + n < last ? lines[stop + n] : null;
      const edge = old && now ? split(old.text.slice(1), now.text.slice(1)) : [0, 0];
      found.push({ kind: "pair", old, now, edge });
    }
    at = last;
  }
  return found;
}

class Diff extends Component {
  state = { beside: false, folded: new Set() };

  line(kind, text, edge) {
    return html`<span class=${`l ${kind}`}>${text[0]}${edge ? marked(text.slice(1), edge) : text.slice(1)}</span>`;
  }

  rows(lines) {
    const { beside } = this.state;
    const blank = html`<span class="l"></span>`;
    if (beside) {
      return paired(lines).map((one) => one.kind === "pair"
        ? [one.old ? this.line("del", one.old.text, one.edge) : blank,
           one.now ? this.line("add", one.now.text, one.edge) : blank]
        : one.kind === "hunk" ? html`<span class="l hunk">${one.text}</span>`
        : [html`<span class="l">${one.text}</span>`, html`<span class="l">${one.text}</span>`]);
    }
    const edges = new Map();
    for (const one of paired(lines)) {
      if (one.kind === "pair" && one.old && one.now) {
        edges.set(one.old, one.edge);
        edges.set(one.now, one.edge);
      }
    }
    return lines.map((one) => html`<span class=${`l ${one.kind}`}>${one.text[0]}${
      edges.has(one) ? marked(one.text.slice(1), edges.get(one)) : one.text.slice(1)}</span>`);
  }

  render({ lines, label }, { beside, folded }) {
    const files = [];
    for (const one of lines) {
      if (one.kind === "file" || !files.length) {
        files.push({ name: one.kind === "file" ? one.text : "", lines: [] });
        if (one.kind === "file") continue;
      }
      files[files.length - 1].lines.push(one);
    }
    const fold = (at) => {
      const next = new Set(folded);
      if (!next.delete(at)) next.add(at);
      this.setState({ folded: next });
    };
    const tools = html`<div class="difftools"><button type="button" class="small"
        aria-pressed=${beside} onClick=${() => this.setState({ beside: !beside })}>Side by side
        </button></div>`;
    return html`${lines.length > FEW ? tools : null}
      <div class=${beside ? "patch split" : "patch"} tabindex="0" role="group" aria-label=${label}>
      ${files.map((file, at) => html`${file.name && html`<span class="l file">${file.name}
        <button type="button" aria-expanded=${!folded.has(at)} onClick=${() => fold(at)}>
        ${folded.has(at) ? "Show" : "Fold"}</button></span>`}
        ${folded.has(at) ? null : this.rows(file.lines)}`)}
      </div>`;
  }
}

for (const place of document.querySelectorAll("[data-patch]")) {
  const lines = [...place.children].map((one) => ({
    kind: one.className.replace(/^l ?/, ""), text: one.textContent,
  }));
  if (lines.length > MOST) continue;
  const box = document.createElement("div");
  place.replaceWith(box);
  render(html`<${Diff} lines=${lines} label=${place.getAttribute("aria-label")} />`, box);
}
