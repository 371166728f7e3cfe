// The audit page: one photo, its labels, one key for each. Sending and fetching happen beside it (outbox.js, queue.js).

import { Outbox } from "./outbox.js";
import { Queue, photoUrl } from "./queue.js";
import { hotkey } from "./keys.js";

const $ = (id) => document.getElementById(id);
const LETTERS = { has_person: "p", has_animal: "a", has_text: "t", is_document: "d", is_screenshot: "s" };
const NAMES = { has_person: "Person", has_animal: "Animal", has_text: "Text", is_document: "Document", is_screenshot: "Screenshot" };
const REASONS = ["cannot be decided", "too dark, blurred or broken", "not a photo for this library", "private: I should not judge it", "another reason"];
const KEYS = [
  [["Enter"], "accept, next photo"], [["1", "…", "9"], "scene"], [["0"], "scene unknown"], [["p", "a", "t", "d", "s"], "person, animal, text, document, screenshot"],
  [["n"], "all that is still open: no"], [["o"], "add an object; Enter takes the first, Esc goes back"], [["u"], "undo"], [["k"], "skip, with a reason"],
  [["z"], "zoom; drag to move"], [["f"], "which photos"], [["?"], "these keys"],
];
const short = (key) => key.slice(key.indexOf(".") + 1).replaceAll("_", " ");
const leaf = (key) => key.slice(key.lastIndexOf(".") + 1).replaceAll("_", " ");

let desk, queue, outbox;
let annotator = "";
let current = null; // { item, labels, before, shownAt, touched }
let past = []; // what was said here, newest last: what Undo takes back first
let hits = [], at = 0; // found objects, the one under the cursor

// -- drawing ----------------------------------------------------------------------------------------------------------
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const kbd = (text) => element("kbd", { textContent: text });
const heard = (text) => element("span", { className: "heard", textContent: text }); // for screen readers
const shown = (tag, className, textContent) => { // for the eye only: what is heard stands beside it
  const made = element(tag, { className, textContent });
  made.setAttribute("aria-hidden", true);
  return made;
};
const sure = (share) => (share === undefined || share === null ? "" : `${Math.round(100 * share)} %`);
const yesNo = (value) => (value === true ? "yes" : value === false ? "no" : null);
const sceneName = (scene) => (scene === null ? "unknown" : short(scene));

// What teacher and student said of one label; null: nothing.
function marks(teacher, student) {
  const made = element("span", { className: "marks" });
  if (teacher !== null) made.append(heard(`, teacher ${teacher}`.trimEnd()), Object.assign(shown("span", "mark teacher", `T ${teacher}`.trim()), { title: "the teacher's answer" }));
  if (student !== null) made.append(heard(`, student ${student}`.trimEnd()), Object.assign(shown("span", "mark student", `S ${student}`.trim()), { title: "the student's answer, and how sure it is" }));
  return made;
}

function draw() {
  const empty = current === null;
  document.body.classList.toggle("idle", empty);
  $("blind").hidden = empty || !current.item.blind;
  if (empty) return;
  const { item, labels } = current;
  const { teacher, student, confidence } = item;
  const held = document.activeElement?.closest("#scenes, #attributes");
  const place = held ? [...held.children].indexOf(document.activeElement) : -1;
  const first = current.sceneSaid ? desk.scenes.indexOf(labels.scene) : 0; // the one that Tab reaches; -1: unknown, the last
  $("scenes").replaceChildren(...[...desk.scenes, null].map((scene, index) => {
    const key = scene === null ? "0" : index < 9 ? String(index + 1) : "";
    const chosen = scene === null ? current.sceneSaid && labels.scene === null : labels.scene === scene;
    const said = [scene !== null && teacher?.scene === scene ? "" : null, scene !== null && student?.scene === scene ? sure(confidence?.scene) : null];
    const button = element("button", { className: "choice", type: "button", title: scene ?? "no scene can be told", tabIndex: index === (first < 0 ? desk.scenes.length : first) ? 0 : -1 },
      shown("kbd", "", key), element("span", { textContent: sceneName(scene) }), marks(...said));
    button.setAttribute("role", "radio");
    button.setAttribute("aria-keyshortcuts", key);
    button.setAttribute("aria-checked", chosen);
    button.onclick = () => setScene(scene);
    return button;
  }));
  $("attributes").replaceChildren(...desk.attributes.map((name) => {
    const state = yesNo(labels.attributes[name]) ?? "unknown", share = confidence?.[name];
    const guess = yesNo(student?.attributes[name]);
    const said = [yesNo(teacher?.attributes[name]), guess && `${guess} ${sure(guess === "no" && share !== undefined ? 1 - share : share)}`.trim()];
    const button = element("button", { className: "tri", type: "button" }, shown("kbd", "", LETTERS[name] ?? ""), element("span", { textContent: NAMES[name] ?? name }),
      shown("em", "", state === "unknown" ? "?" : state), heard(`: ${state}`), marks(...said));
    button.setAttribute("aria-keyshortcuts", LETTERS[name] ?? "");
    button.dataset.state = state;
    button.onclick = () => cycle(name);
    return button;
  }));
  const about = (key) => [teacher?.objects.includes(key) ? "" : null, student?.objects.includes(key) ? "" : null];
  $("objects").replaceChildren(...labels.objects.map((key, index) => {
    const main = element("button", { type: "button", className: "name", title: index ? `${key}: make it the main object` : key }, leaf(key), marks(...about(key)));
    main.onclick = () => change(() => labels.objects.unshift(...labels.objects.splice(index, 1)));
    const off = element("button", { type: "button", className: "off", textContent: "×" });
    off.setAttribute("aria-label", `remove ${leaf(key)}`);
    off.onclick = () => change(() => labels.objects.splice(index, 1));
    return element("li", { className: index ? "" : "first" }, main, off);
  }));
  const others = [...new Set([...(teacher?.objects ?? []), ...(student?.objects ?? [])])].filter((key) => !labels.objects.includes(key));
  $("suggested").replaceChildren(...others.map((key) => {
    const add = element("button", { type: "button", className: "suggestion", title: `add ${key}` }, element("span", { textContent: `+ ${leaf(key)}` }), marks(...about(key)));
    add.onclick = () => change(() => labels.objects.push(key));
    return add;
  }));
  const changed = !item.blind && current.before !== content(labels);
  if (place >= 0) held.children[place]?.focus(); // the buttons are new ones
  $("accept").firstChild.textContent = item.blind ? "Next " : changed ? "Correct " : "Accept ";
}

function show(item, labels = null, sceneSaid = null) {
  const filled = labels ?? item.teacher ?? { scene: null, attributes: {}, objects: [] };
  const own = { scene: filled.scene, attributes: { ...filled.attributes }, objects: [...filled.objects] };
  const teacher = item.teacher ?? { scene: null, attributes: {}, objects: [] };
  current = { item, labels: own, before: content(teacher), sceneSaid: sceneSaid ?? !item.blind, shownAt: performance.now() };
  unzoom();
  hint("");
  const picture = queue.picture(item);
  picture.alt = item.name;
  $("frame").replaceChildren(picture);
  $("frame").dataset.imageId = item.image_id;
  $("caption").textContent = item.name;
  $("empty").hidden = true;
  const mine = current;
  picture.ready.then(() => {
    mine.shownAt = performance.now();
    if (picture.dataset.failed && current === mine) failedPicture(item);
  });
  closeSearch();
  draw();
  announce(described(item));
  $("panel").scrollTop = 0;
  scrollTo(0, 0); // on a phone the labels scroll with the page
}

async function failedPicture(item) {
  let why = "the server cannot be reached; it is asked again as soon as it can";
  try {
    const answer = await fetch(photoUrl(item.image_id));
    if (answer.ok) return current?.item === item && show(item, current.labels, current.sceneSaid);
    why = (await answer.text()).trim();
  } catch {
    setTimeout(() => current?.item === item && failedPicture(item), 1500);
  }
  if (current?.item !== item) return;
  $("frame").replaceChildren(element("p", { className: "missing", textContent: `This photo cannot be shown: ${why}` }));
}

function advance() {
  const item = queue.next();
  if (item) return show(item);
  current = null;
  $("frame").replaceChildren();
  delete $("frame").dataset.imageId;
  $("caption").textContent = "";
  draw();
  drawEmpty();
}

function drawEmpty() {
  const box = $("empty");
  box.hidden = current !== null || !annotator;
  if (box.hidden) return;
  if (queue.failed) box.replaceChildren(element("h2", { textContent: "The server is away" }), element("p", { textContent: "What you said is kept in this browser and sent as soon as it is back." }));
  else if (!queue.exhausted) box.replaceChildren(element("p", { textContent: "Loading …" }));
  else if (queue.view !== "all") box.replaceChildren(element("h2", { textContent: "Nothing left here" }), element("p", { textContent: "Choose “all photos” above for the rest of the sample; blind photos are only shown there." }));
  else {
    const done = element("button", { className: "main", textContent: "Done" });
    done.onclick = finish;
    box.replaceChildren(element("h2", { textContent: `That was the last one, ${annotator}.` }),
      element("p", { textContent: "Every photo of the sample has your answer. Done lets the reports and the students use them now." }), done);
  }
  announce(box.firstElementChild.textContent);
}

function drawProgress(known) {
  if (!known) return;
  const judged = known.judged + known.skipped;
  $("bar").firstElementChild.style.width = `${(100 * judged) / Math.max(1, known.photos)}%`;
  $("bar").setAttribute("aria-valuenow", judged);
  $("bar").setAttribute("aria-valuemax", known.photos);
  $("count").textContent = `${judged} of ${known.photos}${known.skipped ? `, ${known.skipped} skipped` : ""}`;
  $("precision").textContent = known.sentence;
}

function drawSaved() {
  const waiting = outbox.waiting.size;
  $("saved").className = !waiting ? "ok" : outbox.failing ? "away" : "sending";
  $("saved").textContent = !waiting ? "saved" : outbox.failing ? `${waiting} kept here: ${outbox.failing}` : "saving";
}

const hint = (text) => { $("hint").textContent = text; };
const announce = (text) => { if ($("said").textContent !== text) $("said").textContent = text; }; // for those who hear the page

function described({ name, blind }) {
  const { scene, attributes, objects } = current.labels;
  const yes = desk.attributes.filter((one) => attributes[one] === true).map((one) => NAMES[one] ?? one);
  const filled = [...(current.sceneSaid ? [sceneName(scene)] : []), ...yes, ...objects.map(leaf)].join(", ");
  return `Photo ${name}. ${blind ? "Blind: nothing is filled in." : ""} ${filled}`.trim();
}

// -- saying -----------------------------------------------------------------------------------------------------------
const content = (labels) => JSON.stringify([labels.scene ?? null, desk.attributes.map((name) => labels.attributes[name] ?? null), labels.objects]);

function change(edit) {
  if (!current) return;
  edit();
  hint("");
  draw();
}

const setScene = (scene) => change(() => {
  current.labels.scene = scene;
  current.sceneSaid = true;
  announce(`Scene: ${sceneName(scene)}`);
});
const cycle = (name) => change(() => {
  const value = current.labels.attributes[name] ?? null;
  current.labels.attributes[name] = value === null ? true : value ? false : null;
  announce(`${NAMES[name] ?? name}: ${yesNo(current.labels.attributes[name]) ?? "unknown"}`);
});
const restNo = () => change(() => {
  for (const name of desk.attributes) current.labels.attributes[name] ??= false;
  announce("All that was open: no");
});

// Arrow keys of the group of scenes: the next or previous one is chosen, as in any group of radio buttons.
function stepScene(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const all = [...desk.scenes, null], here = [...$("scenes").children].indexOf(document.activeElement);
  const next = (here + step + all.length) % all.length;
  $("scenes").children[next].focus(); // draw keeps the place
  setScene(all[next]);
}

function say(entry) {
  const { item } = current;
  const spent_ms = Math.max(0, Math.round(performance.now() - current.shownAt));
  const said = { verdict_id: newId(), image_id: item.image_id, annotator, seen: item.seen ?? null, view: queue.view, spent_ms, ...entry };
  outbox.add(said);
  return said;
}

const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function accept() {
  if (!current) return;
  if (!current.sceneSaid) return hint("Choose the scene first: 1 – 9, or 0 when it cannot be told.");
  const { item, labels } = current;
  const attributes = Object.fromEntries(desk.attributes.map((name) => [name, labels.attributes[name] ?? null]));
  const said = say({ act: "label", labels: { ...labels, attributes }, changed: current.before !== content(labels) });
  past.push({ item, labels, verdict_id: said.verdict_id });
  advance();
}

function skip(reason) {
  $("ask-reason").close();
  if (!current) return;
  const said = say({ act: "skip", reason });
  past.push({ item: current.item, labels: null, verdict_id: said.verdict_id });
  advance();
}

async function undo() {
  let last = past.pop();
  if (!last) {
    if (outbox.waiting.size) return hint("One moment: an answer is still being saved.");
    const answer = await fetch(`/api/last?${new URLSearchParams({ annotator })}`).catch(() => null);
    last = answer?.ok ? (await answer.json()).last : null;
    if (!last) return hint(answer?.ok ? "Nothing to undo." : "The server is away; undo works again when it is back.");
  }
  if (current) queue.putBack(current.item);
  outbox.add({
    verdict_id: newId(), image_id: last.item.image_id, annotator, act: "undo", undoes: last.verdict_id, spent_ms: 0, view: queue.view, seen: last.item.seen ?? null,
  });
  show(last.item, last.labels, last.labels !== null || !last.item.blind);
  hint("Taken back.");
}

async function finish() {
  if (outbox.waiting.size) return hint("One moment: an answer is still being saved.");
  const answer = await fetch("/api/done", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).catch(() => null);
  const text = answer?.ok ? "Counted: reports and students take it from here." : "The server is away; try again.";
  hint(text);
  if (!current) $("empty").append(element("p", { className: "note", textContent: text }));
}

// -- objects ----------------------------------------------------------------------------------------------------------
function search() {
  const text = $("search").value.trim().toLowerCase();
  const rank = ([key, words]) => {
    const places = words.map((word) => { const place = word.toLowerCase().indexOf(text); return place < 0 ? Infinity : place === 0 ? word.length / 100 : 1 + place; });
    return Math.min(...places, short(key).startsWith(text) ? 50 : Infinity);
  };
  hits = text ? Object.entries(desk.objects).map((entry) => [rank(entry), entry]).filter(([score]) => score < Infinity)
    .sort((a, b) => a[0] - b[0] || a[1][0].length - b[1][0].length).slice(0, 7).map(([, entry]) => entry) : [];
  at = 0;
  drawFound(text);
}

function drawFound(text) {
  $("found").hidden = !text;
  $("search").setAttribute("aria-expanded", Boolean(text));
  $("found").replaceChildren(...(hits.length ? hits.map(([key, words], index) => {
    const alias = words.find((word) => word.toLowerCase().includes(text) && word !== leaf(key));
    const option = element("li", { id: `found-${index}`, title: key }, element("b", { textContent: leaf(key) }),
      element("span", { textContent: alias ? `${alias} · ${short(key)}` : short(key) }));
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", index === at);
    option.onpointerdown = (event) => { event.preventDefault(); add(key); };
    return option;
  }) : [element("li", { className: "none", textContent: "no such object in the taxonomy", role: "option", ariaDisabled: true })]));
  $("search").setAttribute("aria-activedescendant", hits.length ? `found-${at}` : "");
}

function add(key) {
  change(() => current.labels.objects.includes(key) || current.labels.objects.push(key));
  $("search").value = "";
  search();
}

function closeSearch() {
  $("search").value = "";
  $("search").blur();
  hits = [];
  drawFound("");
}

function searchKey(event) {
  if (event.key === "Escape") closeSearch();
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    at = (at + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % Math.max(1, hits.length);
    drawFound($("search").value.trim().toLowerCase());
  } else if (event.key === "Enter") {
    if (hits.length) add(hits[at][0]);
    else if (!$("search").value) closeSearch();
  } else if (event.key === "Backspace" && !$("search").value && current) change(() => current.labels.objects.pop());
  else return;
  event.preventDefault();
}

// -- zoom -------------------------------------------------------------------------------------------------------------
function unzoom() {
  $("stage").classList.remove("zoomed");
}

function zoom(event) {
  const picture = $("frame").querySelector("img");
  if (!current || !picture) return;
  if ($("stage").classList.contains("zoomed")) return unzoom();
  const box = picture.getBoundingClientRect();
  const ratio = picture.naturalWidth / picture.naturalHeight || 1;
  const wide = Math.min(box.width, box.height * ratio), high = wide / ratio; // the picture inside its box
  const part = (at, middle, length) => Math.min(1, Math.max(0, 0.5 + (at - middle) / length));
  const x = event ? part(event.clientX, box.left + box.width / 2, wide) : 0.5, y = event ? part(event.clientY, box.top + box.height / 2, high) : 0.5;
  picture.style.setProperty("--zoom", `${Math.max(2 * wide, box.width, current.item.width / devicePixelRatio)}px`);
  $("stage").classList.add("zoomed");
  $("frame").scrollTo(picture.offsetWidth * x - $("frame").clientWidth / 2, picture.offsetHeight * y - $("frame").clientHeight / 2);
  const large = element("img", { src: photoUrl(current.item.image_id, "zoom") });
  large.decode().then(() => { if ($("stage").classList.contains("zoomed") && picture.isConnected) picture.src = large.src; }).catch(() => {});
}

function drag() {
  let from = null, moved = false;
  $("frame").addEventListener("pointerdown", (event) => {
    moved = false;
    from = $("stage").classList.contains("zoomed") && event.pointerType === "mouse" ? [event.clientX + $("frame").scrollLeft, event.clientY + $("frame").scrollTop] : null;
  });
  addEventListener("pointermove", (event) => {
    if (!from) return;
    moved ||= Math.hypot(event.movementX, event.movementY) > 1;
    $("frame").scrollTo(from[0] - event.clientX, from[1] - event.clientY);
  });
  addEventListener("pointerup", () => { from = null; });
  $("frame").addEventListener("click", (event) => moved || zoom(event));
}

// -- keys -------------------------------------------------------------------------------------------------------------
function pressed(event) {
  if (event.target === $("search")) return event.isComposing || searchKey(event); // Enter that ends a composition is no answer
  const key = hotkey(event);
  if (document.querySelector("dialog[open]")) {
    const reason = REASONS[Number(key) - 1];
    if ($("ask-reason").open && reason) { event.preventDefault(); skip(reason); }
    else if ($("keys").open && key === "?") $("keys").close();
    return;
  }
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); return void undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const name = Object.keys(LETTERS).find((known) => LETTERS[known] === key);
  const act = key === "Enter" ? accept : key === "Escape" ? unzoom : key === "u" ? undo : key === "k" ? askReason : key === "z" ? () => zoom()
    : key === "n" ? restNo : key === "o" || key === "/" ? () => $("search").focus() : key === "f" ? () => $("view").focus()
    : key === "?" ? () => $("keys").showModal() : key === "0" ? () => setScene(null)
    : /^[1-9]$/.test(key) && desk.scenes[key - 1] ? () => setScene(desk.scenes[key - 1]) : name ? () => cycle(name) : null;
  if (!act || (key === "Enter" && event.target.matches("button:not([role=radio]):focus-visible, a"))) return;
  event.preventDefault(); // Enter on a focused button must not press it as well
  if (!event.repeat) act(); // a key that is held down is no second answer
}

function askReason() {
  if (current) $("ask-reason").showModal();
}

// -- beginning --------------------------------------------------------------------------------------------------------
function remembered() {
  const asked = new URLSearchParams(location.search).get("annotator");
  try {
    return asked || localStorage.getItem("vibe-audit/annotator") || "";
  } catch {
    return asked || "";
  }
}

async function askName() {
  const box = $("ask-name");
  $("name").value = annotator;
  box.showModal();
  await new Promise((done) => box.addEventListener("close", done, { once: true }));
  return $("name").value.trim().replace(/\s+/g, " ");
}

function sit(name) {
  annotator = name;
  try {
    localStorage.setItem("vibe-audit/annotator", name);
  } catch { /* asked again next time */ }
  $("who").textContent = name;
  past = [];
  restart();
}

function restart() {
  current = null;
  queue.restart(annotator, $("view").value);
  $("frame").replaceChildren();
  delete $("frame").dataset.imageId;
  $("caption").textContent = "";
  draw();
  drawEmpty();
}

function fixed() {
  const views = [["all", "all photos"], ["differ", "teacher and student differ"], ["unsure", "student unsure"], ["skipped", "skipped by me"]];
  const group = element("optgroup", { label: "teacher says" }, ...desk.scenes.map((scene) => element("option", { value: `scene:${scene}`, textContent: short(scene) })));
  $("view").replaceChildren(...views.map(([value, textContent]) => element("option", { value, textContent })), group);
  $("reasons").replaceChildren(...REASONS.map((reason, index) => {
    const button = element("button", { type: "button", className: "choice" }, kbd(String(index + 1)), element("span", { textContent: reason }));
    button.onclick = () => skip(reason);
    return button;
  }));
  $("key-list").replaceChildren(...KEYS.flatMap(([keys, text]) => [element("dt", {}, ...keys.map((key) => (key === "…" ? key : kbd(key)))), element("dd", { textContent: text })]));
  $("view").onchange = () => { $("view").blur(); restart(); };
  $("accept").onclick = accept;
  $("skip").onclick = askReason;
  $("undo").onclick = undo;
  $("done").onclick = finish;
  $("help").onclick = () => $("keys").showModal();
  $("who").onclick = async () => { const name = await askName(); if (name && name !== annotator) sit(name); };
  $("search").addEventListener("input", search);
  $("search").addEventListener("blur", () => { $("found").hidden = true; });
  $("ask-name").addEventListener("cancel", (event) => { if (!annotator) event.preventDefault(); });
  for (const box of document.querySelectorAll("dialog")) box.addEventListener("click", (event) => { if (event.target === box && box.id !== "ask-name") box.close(); });
  $("scenes").addEventListener("keydown", stepScene);
  addEventListener("keydown", pressed);
  drag();
}

async function begin() {
  if (location.search.includes("token=")) { // it is in a cookie now; keep it out of the history
    const rest = new URLSearchParams(location.search);
    rest.delete("token");
    history.replaceState(null, "", rest.size ? `/?${rest}` : "/");
  }
  for (;;) {
    try {
      desk = await (await fetch("/api/desk")).json();
      break;
    } catch {
      await new Promise((done) => setTimeout(done, 800));
    }
  }
  outbox = new Outbox({
    kept: (entry, answer) => entry.annotator === annotator && drawProgress(answer.progress),
    refused: (entry, why) => hint(`Not taken: ${why}`),
    changed: () => outbox && drawSaved(),
  });
  queue = new Queue({
    busyWith: () => [...(current ? [current.item.image_id] : []), ...[...outbox.waiting.values()].filter((entry) => entry.annotator === annotator && entry.act !== "undo").map((entry) => entry.image_id)],
    progress: drawProgress,
    changed: () => { if (!current && queue.items.length) advance(); else drawEmpty(); },
  });
  fixed();
  drawSaved();
  outbox.send();
  sit(remembered() || await askName());
}

begin();
