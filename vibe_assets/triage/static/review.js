import { hotkey } from "./keys.js";

// One series at a time: look (arrows), keep (Enter), several (Space), none (N), undo (U). What is said is on disk before the next is shown.
const element = (id) => document.getElementById(id);
const reviewer = element("reviewer");
let series = null, at = 0, good = new Set(), busy = false;

function show(state) {
  series = state.series;
  good = new Set(state.choice ? state.choice.winners : []);
  at = 0;
  element("bar").style.width = state.total ? `${(100 * state.done) / state.total}%` : "0";
  element("bar").parentElement.setAttribute("aria-valuenow", state.done);
  element("bar").parentElement.setAttribute("aria-valuemax", state.total);
  element("count").textContent = `${state.done} of ${state.total} series compared`;
  element("done").hidden = series !== null;
  element("where").textContent = series ? `${series.members.length} photos · ${series.title}` : "";
  element("photos").classList.remove("large");
  element("photos").replaceChildren(...(series ? series.members.map(figure) : []));
  mark();
}

function figure(imageId, index) {
  const box = document.createElement("figure"), image = document.createElement("img"), number = document.createElement("span");
  image.src = `/photo/${imageId}`;
  image.alt = `photo ${index + 1}`;
  number.textContent = index + 1;
  box.id = `photo-${index + 1}`;
  box.setAttribute("role", "option");
  box.append(image, number);
  box.addEventListener("click", () => { at = index; mark(); });
  box.addEventListener("dblclick", keep);
  return box;
}

function mark() {
  [...element("photos").children].forEach((box, index) => {
    box.classList.toggle("at", index === at);
    box.classList.toggle("good", good.has(series.members[index]));
    box.setAttribute("aria-selected", good.has(series.members[index]));
  });
  if (series) element("photos").setAttribute("aria-activedescendant", `photo-${at + 1}`);
  else element("photos").removeAttribute("aria-activedescendant");
}

async function ask(path, body) {
  if (busy) return;
  busy = true;
  element("error").textContent = "";
  try {
    const options = body ? { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) } : {};
    const answer = await fetch(path, options);
    const said = await answer.json();
    if (answer.ok) show(said); else element("error").textContent = said.error;
  } catch (error) {
    element("error").textContent = `Not saved: ${error.message}. Is the server still running?`;
  } finally {
    busy = false;
  }
}

const name = () => reviewer.value.trim();
const load = () => ask(`/state?reviewer=${encodeURIComponent(name())}`);
function choose(kind, winners) { if (series) ask("/choose", { reviewer: name(), series_id: series.series_id, kind, winners }); }
function keep() {
  if (!series) return;
  const winners = new Set(good).add(series.members[at]);
  choose(winners.size > 1 ? "tie" : "pick", [...winners]);
}
function toggle() {
  if (!series) return;
  const photo = series.members[at];
  if (!good.delete(photo)) good.add(photo);
  mark();
}
function step(by) { if (series) { at = (at + by + series.members.length) % series.members.length; mark(); } }

const keys = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1), Enter: keep, " ": toggle,
  n: () => choose("none", []), u: () => ask("/undo", { reviewer: name() }), z: () => element("photos").classList.toggle("large"),
};
document.addEventListener("keydown", (event) => {
  if (event.target === reviewer || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.tagName === "BUTTON" && (event.key === "Enter" || event.key === " ")) return;
  const key = hotkey(event), action = keys[key];
  if (/^[1-9]$/.test(key) && series && Number(key) <= series.members.length) { at = Number(key) - 1; mark(); return; }
  if (action) { event.preventDefault(); action(); }
});
element("keep").addEventListener("click", keep);
element("tie").addEventListener("click", toggle);
element("none").addEventListener("click", keys.n);
element("undo").addEventListener("click", keys.u);
try { reviewer.value = localStorage.getItem("reviewer") || "me"; } catch { reviewer.value = "me"; }
reviewer.addEventListener("change", () => { try { localStorage.setItem("reviewer", name()); } catch { /* private window */ } load(); });
load();
