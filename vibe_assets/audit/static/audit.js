// The audit page: one photo, its labels, one key for each. Sending and fetching happen beside it (outbox.js, queue.js).

import { Outbox } from "./outbox.js";
import { Queue, photoUrl } from "./queue.js";
import { hotkey } from "./keys.js";
import { Search, leaf } from "./search.js";

const $ = (id) => document.getElementById(id);
const REASONS = ["cannot be decided", "too dark, blurred or broken", "not a photo for this library", "private: I should not judge it", "another reason"];
const OTHER_KEYS = [[["u"], "undo"], [["k"], "skip, with a reason"], [["z"], "zoom; drag to move"], [["f"], "which photos"], [["?"], "these keys"]];

let queue, outbox;
let questions = []; // as vocabulary.py makes them: a control for each, by type
let strokes = new Map(), leaders = new Set(), leader = ""; // hotkey -> what it does; first strokes of two; the one that was pressed
let searches = new Map(); // key of a question -> its search
let annotator = "";
let current = null; // { item, labels, before, shownAt, said: questions with one answer that have one }
let past = []; // what was said here, newest last: what Undo takes back first

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
const ofType = (type) => questions.filter((question) => question.type === type);
const mainQuestion = () => questions.find((question) => question.main);
const nameOf = (question, key) => (key === null ? "unknown" : question.labels.find((label) => label.key === key)?.name ?? leaf(key));
const asked = (question, { off }) => !off?.includes(question.key); // questions are switched off where some photos lie
const box = (question) => $(question.id);
const badge = (key) => (key ? shown("kbd", "", key) : null);

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
  const held = document.activeElement?.closest(".choices, .toggles");
  const place = held ? [...held.children].indexOf(document.activeElement) : -1;
  for (const question of questions) {
    box(question).closest("section").hidden = !asked(question, item);
    ({ one_of: drawChoices, yes_no: drawToggles, many_of: drawTags })[question.type](question, item, labels);
  }
  const changed = !item.blind && current.before !== content(labels, item);
  if (place >= 0) held.children[place]?.focus(); // the buttons are new ones
  $("accept").firstChild.textContent = item.blind ? "Next " : changed ? "Correct " : "Accept ";
}

// The keys on the page of a question with one answer, null for unknown. Of very many only those that somebody named: others are searched.
function drawn({ key, searched, labels: all }, { teacher, student }, labels) {
  const named = [labels[key], teacher?.[key], student?.[key]];
  return [...all.map((label) => label.key).filter((one) => !searched || named.includes(one)), null];
}

function drawChoices(question, item, labels) {
  const { teacher, student, confidence } = item, { key } = question;
  const all = drawn(question, item, labels), known = new Map(question.labels.map((label) => [label.key, label]));
  const first = Math.max(0, current.said.has(key) ? all.indexOf(labels[key]) : 0); // the one that Tab reaches
  box(question).replaceChildren(...all.map((one, index) => {
    const stroke = one === null ? question.hotkey : known.get(one).hotkey;
    const chosen = one === null ? current.said.has(key) && labels[key] === null : labels[key] === one;
    const said = [one !== null && teacher?.[key] === one ? "" : null, one !== null && student?.[key] === one ? sure(confidence?.[key]) : null];
    const button = element("button", { className: "choice", type: "button", title: one ?? `no ${question.label} can be told`, tabIndex: index === first ? 0 : -1 },
      badge(stroke), element("span", { textContent: nameOf(question, one), dir: "auto" }), marks(...said));
    button.setAttribute("role", "radio");
    if (stroke.length === 1) button.setAttribute("aria-keyshortcuts", stroke);
    button.setAttribute("aria-checked", chosen);
    button.onclick = () => choose(question, one);
    return button;
  }));
}

function drawToggles(question, { teacher, student, confidence }, labels) {
  const { key } = question;
  box(question).replaceChildren(...question.labels.map((label) => {
    const { word } = label;
    const state = yesNo(labels[key][word]) ?? "unknown", share = confidence?.[word];
    const guess = yesNo(student?.[key]?.[word]);
    const said = [yesNo(teacher?.[key]?.[word]), guess && `${guess} ${sure(guess === "no" && share !== undefined ? 1 - share : share)}`.trim()];
    const button = element("button", { className: "tri", type: "button" }, badge(label.hotkey), element("span", { textContent: label.name, dir: "auto" }),
      shown("em", "", state === "unknown" ? "?" : state), heard(`: ${state}`), marks(...said));
    if (label.hotkey.length === 1) button.setAttribute("aria-keyshortcuts", label.hotkey);
    button.dataset.state = state;
    button.onclick = () => cycle(question, label);
    return button;
  }));
}

function drawTags(question, { teacher, student }, labels) {
  const { key } = question, chosen = labels[key];
  const about = (one) => [teacher?.[key]?.includes(one) ? "" : null, student?.[key]?.includes(one) ? "" : null];
  box(question).replaceChildren(...chosen.map((one, index) => {
    const name = nameOf(question, one);
    const main = element("button", { type: "button", className: "name", title: index ? `${one}: make it the main ${question.label}` : one }, element("bdi", { textContent: name }), marks(...about(one)));
    main.onclick = () => change(question, () => chosen.unshift(...chosen.splice(index, 1)));
    const off = element("button", { type: "button", className: "off", textContent: "×" });
    off.setAttribute("aria-label", `remove ${name}`);
    off.onclick = () => change(question, () => chosen.splice(index, 1));
    return element("li", { className: index ? "" : "first" }, main, off);
  }));
  const others = [...new Set([...(teacher?.[key] ?? []), ...(student?.[key] ?? [])])].filter((one) => !chosen.includes(one));
  searches.get(key).suggested.replaceChildren(...others.map((one) => {
    const add = element("button", { type: "button", className: "suggestion", title: `add ${one}` }, element("span", {}, "+ ", element("bdi", { textContent: nameOf(question, one) })), marks(...about(one)));
    add.onclick = () => change(question, () => chosen.push(one));
    return add;
  }));
}

// A copy of labels that may be changed, with every question in it.
const own = (labels) => Object.fromEntries(questions.map(({ key, type }) => [key, type === "yes_no" ? { ...labels?.[key] } : type === "many_of" ? [...(labels?.[key] ?? [])] : labels?.[key] ?? null]));
// Questions with one answer that have one when a photo comes: the teacher's, where it was asked.
const saidFirst = (everything) => new Set(ofType("one_of").filter((question) => everything || question.asked === "teacher").map((question) => question.key));

function show(item, labels = null, said = null) {
  current = { item, labels: own(labels ?? item.teacher), before: content(own(item.teacher), item), said: said ?? (item.blind ? new Set() : saidFirst(false)), shownAt: performance.now() };
  leader = "";
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
  for (const search of searches.values()) search.close();
  draw();
  announce(described(item));
  $("panel").scrollTop = 0;
  scrollTo(0, 0); // on a phone the labels scroll with the page
}

async function failedPicture(item) {
  let why = "the server cannot be reached; it is asked again as soon as it can";
  try {
    const answer = await fetch(photoUrl(item.image_id));
    if (answer.ok) return current?.item === item && show(item, current.labels, current.said);
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
  const { labels, said } = current;
  const told = questions.filter((question) => asked(question, current.item)).flatMap((question) => question.type === "one_of" ? (said.has(question.key) ? [nameOf(question, labels[question.key])] : [])
    : question.type === "yes_no" ? question.labels.filter((label) => labels[question.key][label.word] === true).map((label) => label.name)
    : labels[question.key].map((key) => nameOf(question, key)));
  return `Photo ${name}. ${blind ? "Blind: nothing is filled in." : ""} ${told.join(", ")}`.trim();
}

// -- saying -----------------------------------------------------------------------------------------------------------
const spelt = (labels, item) => Object.fromEntries(questions.filter((question) => asked(question, item)).map(({ key, type, labels: all }) => [key, type === "yes_no" ? Object.fromEntries(all.map(({ word }) => [word, labels[key][word] ?? null])) : labels[key]]));
const content = (labels, item) => JSON.stringify(spelt(labels, item));

function change(question, edit) {
  if (!current || (question && !asked(question, current.item))) return;
  edit();
  hint("");
  draw();
}

const choose = (question, key) => change(question, () => {
  current.labels[question.key] = key;
  current.said.add(question.key);
  announce(`${question.title}: ${nameOf(question, key)}`);
});
const cycle = (question, { word, name }) => change(question, () => {
  const flags = current.labels[question.key], value = flags[word] ?? null;
  flags[word] = value === null ? true : value ? false : null;
  announce(`${name}: ${yesNo(flags[word]) ?? "unknown"}`);
});
const toggle = (question, key) => change(question, () => {
  const chosen = current.labels[question.key], place = chosen.indexOf(key);
  if (place < 0) chosen.push(key);
  else chosen.splice(place, 1);
  announce(`${nameOf(question, key)}: ${place < 0 ? "added" : "removed"}`);
});
const restNo = () => change(null, () => {
  for (const question of ofType("yes_no")) for (const { word } of question.labels) current.labels[question.key][word] ??= false;
  announce("All that was open: no");
});

// Arrow keys of a group of choices: the next or previous one is chosen, as in any group of radio buttons.
function stepChoice(event, question) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const all = drawn(question, current.item, current.labels), here = [...box(question).children].indexOf(document.activeElement);
  const next = (here + step + all.length) % all.length;
  box(question).children[next].focus(); // draw keeps the place
  choose(question, all[next]);
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
  const main = mainQuestion();
  if (main && asked(main, current.item) && !current.said.has(main.key)) return hint(`Choose the ${main.noun} first: ${range(main, " – ")}, or 0 when it cannot be told.`);
  const { item, labels } = current;
  const said = say({ act: "label", labels: spelt(labels, item), changed: current.before !== content(labels, item) });
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
  show(last.item, last.labels, last.labels === null ? null : saidFirst(true));
  hint("Taken back.");
}

async function finish() {
  if (outbox.waiting.size) return hint("One moment: an answer is still being saved.");
  const answer = await fetch("/api/done", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).catch(() => null);
  const text = answer?.ok ? "Counted: reports and students take it from here." : "The server is away; try again.";
  hint(text);
  if (!current) $("empty").append(element("p", { className: "note", textContent: text }));
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
  const search = [...searches.values()].find(({ input }) => input === event.target);
  if (search) return event.isComposing || search.pressed(event); // Enter that ends a composition is no answer
  const key = hotkey(event);
  if (document.querySelector("dialog[open]")) {
    const reason = REASONS[Number(key) - 1];
    if ($("ask-reason").open && reason) { event.preventDefault(); skip(reason); }
    else if ($("keys").open && key === "?") $("keys").close();
    return;
  }
  if ((event.ctrlKey || event.metaKey) && key === "z") { event.preventDefault(); return void undo(); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const before = leader;
  leader = "";
  if (before) hint("");
  const act = strokes.get(before + key) ?? (before && key === "Escape" ? () => {} : leaders.has(key) ? () => lead(key)
    : key === "Enter" ? accept : key === "Escape" ? unzoom : key === "u" ? undo : key === "k" ? askReason : key === "z" ? () => zoom()
    : key === "n" ? restNo : key === "/" ? strokes.get("o") : key === "f" ? () => $("view").focus() : key === "?" ? () => $("keys").showModal() : null);
  if (!act || (key === "Enter" && event.target.matches("button:not([role=radio]):focus-visible, a"))) return;
  event.preventDefault(); // Enter on a focused button must not press it as well
  if (!event.repeat) act(); // a key that is held down is no second answer
}

// The first of two strokes: what the second may be stands on the labels.
function lead(key) {
  leader = key;
  hint(`${key} …`);
}

// What each hotkey of a label or question does.
function bind() {
  const give = (key, act) => { if (key) { strokes.set(key, act); if (key.length > 1) leaders.add(key[0]); } };
  for (const question of questions) {
    give(question.hotkey, question.type === "one_of" ? () => choose(question, null) : () => searches.get(question.key).input.focus());
    for (const label of question.labels) give(label.hotkey, { one_of: () => choose(question, label.key), yes_no: () => cycle(question, label), many_of: () => toggle(question, label.key) }[question.type]);
  }
}

const single = ({ labels }) => labels.map(({ hotkey: key }) => key).filter((key) => key.length === 1);
const range = (question, between) => { const keys = single(question); return keys.length > 1 ? `${keys[0]}${between}${keys.at(-1)}` : keys.join(""); };

function keyList() {
  const rows = [[["Enter"], "accept, next photo"]];
  for (const question of questions) {
    const keys = single(question), led = [question, ...question.labels].find(({ hotkey: key }) => key.length > 1)?.hotkey[0];
    if (question.main) rows.push([keys.length > 2 ? [keys[0], "…", keys.at(-1)] : keys, question.noun], [["0"], `${question.noun} unknown`]);
    else if (keys.length) rows.push([keys, question.labels.filter(({ hotkey: key }) => key.length === 1).map(({ name }) => name.toLowerCase()).join(", ")]);
    if (led) rows.push([[led, "…"], `${question.noun}: two strokes, as the labels show`]);
  }
  if (ofType("yes_no").length) rows.push([["n"], "all that is still open: no"]);
  for (const question of ofType("many_of")) if (question.hotkey) rows.push([[question.hotkey], `add ${/^[aeiou]/.test(question.label) ? "an" : "a"} ${question.label}; Enter takes the first, Esc goes back`]);
  return [...rows, ...OTHER_KEYS];
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
  const main = mainQuestion();
  const group = main ? [element("optgroup", { label: "teacher says" }, ...main.labels.map(({ key, name }) => element("option", { value: `scene:${key}`, textContent: name })))] : [];
  $("view").replaceChildren(...views.filter(([value]) => main || !["differ", "unsure"].includes(value)).map(([value, textContent]) => element("option", { value, textContent })), ...group);
  $("reasons").replaceChildren(...REASONS.map((reason, index) => {
    const button = element("button", { type: "button", className: "choice" }, kbd(String(index + 1)), element("span", { textContent: reason }));
    button.onclick = () => skip(reason);
    return button;
  }));
  $("key-list").replaceChildren(...keyList().flatMap(([keys, text]) => [element("dt", {}, ...keys.map((key) => (key === "…" ? key : kbd(key)))), element("dd", { textContent: text })]));
  $("view").onchange = () => { $("view").blur(); restart(); };
  $("accept").onclick = accept;
  $("skip").onclick = askReason;
  $("undo").onclick = undo;
  $("done").onclick = finish;
  $("help").onclick = () => $("keys").showModal();
  $("who").onclick = async () => { const name = await askName(); if (name && name !== annotator) sit(name); };
  for (const question of questions.filter(({ searched }) => searched)) searches.set(question.key, new Search(question, {
    chosen: (key) => (question.type === "one_of" ? choose(question, key) : change(question, () => current.labels[question.key].includes(key) || current.labels[question.key].push(key))),
    erased: () => question.type === "many_of" && change(question, () => current.labels[question.key].pop()),
  }));
  for (const question of ofType("one_of")) box(question).addEventListener("keydown", (event) => stepChoice(event, question));
  bind();
  $("ask-name").addEventListener("cancel", (event) => { if (!annotator) event.preventDefault(); });
  for (const box of document.querySelectorAll("dialog")) box.addEventListener("click", (event) => { if (event.target === box && box.id !== "ask-name") box.close(); });
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
      questions = (await (await fetch("/api/desk")).json()).vocabulary;
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
