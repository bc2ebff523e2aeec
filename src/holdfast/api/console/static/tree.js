// Forks and children of a run as a tree, drawn by hand: one row a run, a line to where it came from.
import { Component, render } from "./vendor/preact.js";
import { html } from "./html.js";

const ROW = 34;
const STEP = 22;

export function laid(runs) {
  const below = new Map();
  const names = new Set(runs.map((one) => one.run));
  for (const one of runs) {
    const above = names.has(one.above) ? one.above : "";
    below.set(above, [...(below.get(above) ?? []), one]);
  }
  const found = [];
  const stack = (below.get("") ?? []).map((one) => [one, 0]).reverse();
  while (stack.length) {
    const [one, deep] = stack.pop();
    found.push({ ...one, deep, at: found.length });
    for (const next of [...(below.get(one.run) ?? [])].reverse()) stack.push([next, deep + 1]);
  }
  return found;
}

class Tree extends Component {
  render({ runs, here }) {
    const rows = laid(runs);
    const at = new Map(rows.map((one) => [one.run, one]));
    const deepest = Math.max(...rows.map((one) => one.deep));
    const width = 640 + deepest * STEP;
    return html`<svg width=${width} height=${rows.length * ROW + 8} role="group"
      aria-label=${`${rows.length} runs`}>
      ${rows.map((one) => {
        const from = at.get(one.above);
        if (!from) return null;
        const x = 14 + from.deep * STEP;
        const y = one.at * ROW + ROW / 2;
        const line = `M${x} ${from.at * ROW + ROW / 2 + 6} V${y - 6} q0 6 6 6 H${x + STEP - 6}`;
        return html`<path d=${line} class=${one.fork ? "forked" : "spawn"} />`;
      })}
      ${rows.map((one) => {
        const x = 14 + one.deep * STEP;
        const y = one.at * ROW + ROW / 2;
        const how = one.above ? `${one.fork ? "fork at" : "child of"} ${one.place}` : "";
        return html`<a href=${`/runs/${encodeURIComponent(one.run)}?view=tree`}
          aria-current=${one.run === here ? "page" : null}>
          <rect x=${x - 10} y=${y - 14} width=${width - x} height="28" rx="5"
            class=${one.run === here ? "here" : ""} />
          <circle cx=${x} cy=${y} r="5" class=${one.status} />
          <text x=${x + 13} y=${y + 4}><tspan class="id">${one.run}</tspan>${" "}
            <tspan dx="8">${one.agent}</tspan>${" "}<tspan dx="8" class="sub">${one.status}</tspan>
            ${" "}<tspan dx="8" class="sub">${how}</tspan></text>
        </a>`;
      })}
    </svg>`;
  }
}

const place = document.getElementById("tree");
if (place) {
  const runs = JSON.parse(place.dataset.tree);
  place.replaceChildren();
  place.classList.add("tree");
  place.tabIndex = 0;
  place.setAttribute("role", "region");
  place.setAttribute("aria-label", "Forks and children");
  render(html`<${Tree} runs=${runs} here=${place.dataset.here} />`, place);
}
