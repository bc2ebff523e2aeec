// What every page does: keys, the theme, and news of the store. No text of agents is touched here.
import htmx from "./vendor/htmx.js";

const typing = (at) => at.matches?.("input, textarea, select, [contenteditable]");
const all = (what, root = document) => [...root.querySelectorAll(what)];

// The theme: as the system, light, dark ---------------------------------------------------------
const THEMES = ["", "light", "dark"];
const NAMES = { "": "as the system", light: "light", dark: "dark" };
const themeButton = document.getElementById("theme");

function showTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  themeButton?.setAttribute("aria-label", `Theme: ${NAMES[theme]}`);
  if (themeButton) themeButton.title = `Theme: ${NAMES[theme]}`;
}

let theme = localStorage.getItem("holdfast-theme") ?? "";
if (!THEMES.includes(theme)) theme = "";
showTheme(theme);
themeButton?.addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  localStorage.setItem("holdfast-theme", theme);
  showTheme(theme);
});

// Keys ------------------------------------------------------------------------------------------
const keys = document.getElementById("keys");
document.getElementById("help")?.addEventListener("click", () => keys.showModal());
let before = "";

function move(step) {
  const rows = all("[data-row]").filter((row) => row.querySelector("a"));
  if (!rows.length) return false;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const here = at < 0 ? rows.findIndex((row) => row.classList.contains("here")) : at;
  const next = rows[Math.min(rows.length - 1, Math.max(0, here < 0 ? 0 : here + step))];
  next.querySelector("a").focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function press(key) {
  const found = all(`[data-key="${CSS.escape(key)}"]`).find((one) => !one.disabled);
  found?.click();
  return Boolean(found);
}

function edit() {
  const box = document.querySelector("[data-edit-box]");
  if (box) box.open = true;
  const field = document.querySelector("[data-edit]");
  field?.focus();
  return Boolean(field);
}

function act(key) {
  const places = { r: "/runs", i: "/inbox" };
  if (before === "g" && places[key]) return location.assign(places[key]), true;
  if (key === "j" || key === "k") return move(key === "j" ? 1 : -1);
  if (key === "/") {
    const field = document.querySelector("[data-search]");
    field?.focus();
    return Boolean(field);
  }
  if (key === "?") return keys.showModal(), true;
  if (key === "e" && document.querySelector("[data-edit]")) return edit();
  if (key === "w" && document.querySelector("[data-note]")) {
    document.querySelector("[data-note]").focus();
    return true;
  }
  return press(key);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && typing(event.target)) return event.target.blur();
  if (typing(event.target) || keys?.open || event.key.length !== 1) return;
  if (act(event.key)) event.preventDefault();
  before = event.key;
});

// A form is sent once, and what cannot be undone is asked again --------------------------------
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  const sure = event.submitter?.dataset.sure;
  if (form.dataset.sent || (sure && !window.confirm(sure))) return event.preventDefault();
  form.dataset.sent = "1";
});
window.addEventListener("pageshow", () => all("form[data-sent]").forEach((f) => delete f.dataset.sent));

// News: one stream while the page is seen; lists fetch themselves again --------------------------
const place = document.querySelector("[data-live]");
let stream = null;
let after = Number(place?.dataset.live ?? 0);
let late = 0;

function tell(detail) {
  document.body.dispatchEvent(new CustomEvent("news", { detail }));
}

function listen() {
  if (stream || !place || document.hidden) return;
  const run = place.dataset.liveRun;
  const part = run ? `&run=${encodeURIComponent(run)}` : "";
  stream = new EventSource(`/api/v1/live?after=${after}${part}`);
  stream.onmessage = (event) => {
    after = Number(event.lastEventId) || after;
    tell(JSON.parse(event.data));
  };
  stream.addEventListener("missed", () => location.reload());
  stream.onerror = () => {
    stop();
    clearTimeout(late);
    late = setTimeout(listen, 2000);
  };
}

function stop() {
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", listen); // when every module of the page is there to hear
if (place?.dataset.reload !== undefined) {
  document.body.addEventListener("news", (event) => {
    if (event.detail.kind === "approval.asked") location.reload();
  });
}
window.htmx = htmx;
