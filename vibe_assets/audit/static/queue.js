// Photos ahead of the one on the page: their data, and their pictures loaded and decoded before they are needed.

const AHEAD = 5; // pictures decoded in advance
const LOW = 12; // fetch more data below this

export const photoUrl = (id, size = "page") => `/photo/${id}?size=${size}`;

export class Queue {
  constructor({ busyWith, progress, changed }) {
    Object.assign(this, { busyWith, progress, changed });
    this.items = [];
    this.pictures = new Map();
    this.turn = 0;
    this.restart("", "all");
  }

  restart(annotator, view) {
    this.turn += 1; // answers to older questions are dropped
    Object.assign(this, { annotator, view, items: [], given: new Set(), exhausted: false, failed: false, loading: false });
    if (annotator) this.fill();
  }

  next() {
    const item = this.items.shift();
    if (item) this.given.add(item.image_id); // an answer on its way must not bring the photo back
    this.fill();
    return item;
  }

  putBack(item) {
    this.items.unshift(item);
  }

  async fill() {
    this.preload();
    if (this.loading || this.exhausted || this.items.length >= LOW) return;
    const turn = this.turn;
    this.loading = true;
    const [view, scene] = this.view.split(":");
    const asked = new URLSearchParams({ annotator: this.annotator, view, without: [...this.busyWith(), ...this.items.map((item) => item.image_id)].join(",") });
    if (scene) asked.set("scene", scene);
    let found = null;
    try {
      const answer = await fetch(`/api/queue?${asked}`);
      if (answer.ok) found = await answer.json();
    } catch { /* server away: asked again below */ }
    if (turn !== this.turn) return;
    this.loading = false;
    this.failed = found === null;
    if (found === null) {
      setTimeout(() => turn === this.turn && this.fill(), 700);
    } else {
      const known = new Set([...this.busyWith(), ...this.given, ...this.items.map((item) => item.image_id)]);
      const fresh = found.items.filter((item) => !known.has(item.image_id));
      this.exhausted = fresh.length === 0;
      this.items.push(...fresh);
      this.progress(found.progress);
      this.preload();
    }
    this.changed();
  }

  preload() {
    for (const item of this.items.slice(0, AHEAD)) this.picture(item);
    for (const id of this.pictures.keys()) {
      if (this.pictures.size <= 3 * AHEAD) break;
      if (!this.items.slice(0, AHEAD).some((item) => item.image_id === id)) this.pictures.delete(id);
    }
  }

  picture(item) {
    let picture = this.pictures.get(item.image_id);
    if (!picture || picture.dataset.failed) {
      picture = new Image();
      picture.decoding = "sync"; // it is decoded when it is put on the page, so it may as well be painted with it
      picture.draggable = false;
      picture.alt = "";
      picture.src = photoUrl(item.image_id);
      picture.ready = picture.decode().catch(() => { picture.dataset.failed = "1"; });
      this.pictures.set(item.image_id, picture);
    }
    return picture;
  }
}
