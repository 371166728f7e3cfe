// What a person said waits here, in memory and in the browser's storage, until the server says that it is on disk.
// Every entry has its own id and its own place in the storage: tabs do not overwrite each other, sending twice changes nothing.

const PREFIX = "vibe-audit/waiting/";
const FINAL = new Set([400, 404, 409, 413, 415, 422]); // the server will never take it: say so instead of asking for ever

export class Outbox {
  constructor({ kept, refused, changed }) {
    Object.assign(this, { kept, refused, changed });
    this.waiting = new Map();
    this.busy = false;
    this.pause = 0;
    this.failing = "";
    for (const entry of stored()) this.waiting.set(entry.verdict_id, entry);
    addEventListener("online", () => this.now());
  }

  add(entry) {
    entry = { ...entry, order: Date.now() + this.waiting.size / 1000 };
    this.waiting.set(entry.verdict_id, entry);
    try {
      localStorage.setItem(PREFIX + entry.verdict_id, JSON.stringify(entry));
    } catch { /* storage full or forbidden: memory still holds it */ }
    this.send();
  }

  now() {
    this.pause = 0;
    clearTimeout(this.timer);
    this.send();
  }

  async send() {
    this.changed();
    if (this.busy) return;
    this.busy = true;
    while (this.waiting.size) {
      const entry = this.waiting.values().next().value;
      let answer;
      try {
        answer = await fetch("/api/verdicts", {
          method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(entry), keepalive: true,
        });
      } catch {
        this.later("server not reachable");
        break;
      }
      if (answer.ok) {
        this.forget(entry);
        this.kept(entry, await answer.json().catch(() => ({})));
      } else if (FINAL.has(answer.status)) {
        this.forget(entry);
        this.refused(entry, (await answer.text()).trim());
      } else {
        this.later((await answer.text().catch(() => "")).trim() || `server says ${answer.status}`);
        break;
      }
      this.changed();
    }
    this.busy = false;
    this.changed();
  }

  later(why) {
    this.failing = why;
    this.pause = Math.min(this.pause ? this.pause * 2 : 300, 4000);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), this.pause);
  }

  forget(entry) {
    this.waiting.delete(entry.verdict_id);
    this.pause = 0;
    this.failing = "";
    try {
      localStorage.removeItem(PREFIX + entry.verdict_id);
    } catch { /* nothing was stored */ }
  }

  has(image_id, annotator) {
    return [...this.waiting.values()].some((entry) => entry.image_id === image_id && entry.annotator === annotator);
  }
}

function stored() {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).map((key) => JSON.parse(localStorage.getItem(key)))
      .sort((a, b) => a.order - b.order);
  } catch {
    return [];
  }
}
