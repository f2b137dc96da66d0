// Keeps a page as it would be if it were loaded again: the server renders, this swaps parts.

const MOST_OFTEN_MS = 500;
const AGAIN_MS = 2000;

let pending = 0;
let busy = false;

/** Load this page again soon and take over every part that is marked data-live. */
function refresh(after = MOST_OFTEN_MS) {
  if (!pending) pending = setTimeout(load, after);
}

async function load() {
  pending = 0;
  if (busy) return refresh();
  busy = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) swap(part, fresh.getElementById(part.id));
    await draw();
    follow();
  } catch {
    refresh(AGAIN_MS); // the service is away
  } finally {
    busy = false;
  }
}

function swap(part, fresh) {
  if (!fresh || fresh.outerHTML === part.outerHTML) return;
  const places = [...part.querySelectorAll(".scroll")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const link = focused?.getAttribute("href") ?? null;
  for (const { name } of [...part.attributes]) part.removeAttribute(name);
  for (const { name, value } of fresh.attributes) part.setAttribute(name, value);
  part.replaceChildren(...fresh.childNodes);
  part.querySelectorAll(".scroll").forEach((box, i) => {
    if (places[i]) [box.scrollLeft, box.scrollTop] = places[i];
  });
  if (focused) {
    const again = [...part.querySelectorAll("a, .scroll")];
    again.find((it) => it.getAttribute("href") === link)?.focus({ preventScroll: true });
  }
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("--ink"), family: getComputedStyle(document.body).fontFamily },
    hoverlabel: {
      bgcolor: colour("--sheet"),
      bordercolor: colour("--rule"),
      font: { color: colour("--ink") },
    },
  };
}

const texts = new Map();

/** Draw every figure that has changed since it was drawn last. */
async function draw(anyway = false) {
  const config = JSON.parse(document.querySelector("[data-plotly]")?.dataset.plotly ?? "{}");
  for (const chart of document.querySelectorAll("[data-figure]")) {
    const response = await fetch(chart.dataset.figure);
    if (!response.ok) continue;
    const text = await response.text();
    if (!anyway && texts.get(chart) === text) continue;
    texts.set(chart, text);
    const { data, layout } = JSON.parse(text);
    delete layout.title; // the page has a heading
    layout.margin = { ...layout.margin, t: 35 };
    layout.uirevision = "kept"; // what the reader has zoomed to stays
    chart.hidden = !data.some(({ x }) => x?.length || x?.bdata);
    if (chart.hidden) continue;
    await Plotly.react(chart, data, { ...layout, ...theme() }, config);
    chart.dataset.rendered = data.length;
  }
}

let source = null;

/** Follow the job's events as long as it moves and somebody looks. */
function follow() {
  const url = document.querySelector("[data-events]")?.dataset.events;
  if (!url || document.hidden) return leave();
  if (source && source.readyState !== EventSource.CLOSED) return;
  source = new EventSource(url);
  const kinds = ["job.state", "job.request", "generation.finished", "evaluation.poisoned", "beacon.lost"];
  for (const kind of kinds) source.addEventListener(kind, () => refresh());
  source.addEventListener("error", () => {
    leave();
    refresh(AGAIN_MS);
  });
}

function leave() {
  source?.close();
  source = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? leave() : load()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
const list = document.querySelector("[data-every]");
if (list) setInterval(() => document.hidden || load(), Number(list.dataset.every));
await load();
