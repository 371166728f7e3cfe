// The search of one question's labels: what people type finds words, names and places in the tree; Enter takes the first.

export const short = (key) => key.slice(key.indexOf(".") + 1).replaceAll("_", " ");
export const leaf = (key) => key.slice(key.lastIndexOf(".") + 1).replaceAll("_", " ");

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export class Search {
  constructor(question, { chosen, erased }) {
    Object.assign(this, { question, chosen, erased, hits: [], at: 0 }); // `at`: the hit under the cursor
    const section = document.querySelector(`[data-question="${question.key}"]`);
    [this.input, this.found, this.suggested] = [".search input", ".found", ".suggested"].map((part) => section.querySelector(part));
    this.input.addEventListener("input", () => this.search());
    this.input.addEventListener("blur", () => { this.found.hidden = true; });
  }

  get text() {
    return this.input.value.trim().toLowerCase();
  }

  search() {
    const { text } = this;
    const rank = ({ key, name, words }) => {
      const places = [...words, name].map((word) => { const place = word.toLowerCase().indexOf(text); return place < 0 ? Infinity : place === 0 ? word.length / 100 : 1 + place; });
      return Math.min(...places, short(key).startsWith(text) ? 50 : Infinity);
    };
    this.hits = text ? this.question.labels.map((label) => [rank(label), label]).filter(([score]) => score < Infinity)
      .sort((a, b) => a[0] - b[0] || a[1].key.length - b[1].key.length).slice(0, 7).map(([, label]) => label) : [];
    this.at = 0;
    this.draw();
  }

  draw() {
    const { text, found, hits } = this;
    found.hidden = !text;
    this.input.setAttribute("aria-expanded", Boolean(text));
    found.replaceChildren(...(hits.length ? hits.map(({ key, name, words }, index) => {
      const alias = words.find((word) => word.toLowerCase().includes(text) && word !== name);
      const option = element("li", { id: `${found.id}-${index}`, title: key }, element("b", { textContent: name, dir: "auto" }),
        element("span", { textContent: alias ? `${alias} · ${short(key)}` : short(key) }));
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", index === this.at);
      option.onpointerdown = (event) => { event.preventDefault(); this.take(key); };
      return option;
    }) : [element("li", { className: "none", textContent: `no such ${this.question.label} in the taxonomy`, role: "option", ariaDisabled: true })]));
    this.input.setAttribute("aria-activedescendant", hits.length ? `${found.id}-${this.at}` : "");
  }

  take(key) {
    this.chosen(key);
    this.input.value = "";
    this.search();
  }

  close() {
    this.input.value = "";
    this.input.blur();
    this.hits = [];
    this.draw();
  }

  pressed(event) {
    const { hits } = this;
    if (event.key === "Escape") this.close();
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      this.at = (this.at + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % Math.max(1, hits.length);
      this.draw();
    } else if (event.key === "Enter") {
      if (hits.length) this.take(hits[this.at].key);
      else if (!this.input.value) this.close();
    } else if (event.key === "Backspace" && !this.input.value) this.erased();
    else return;
    event.preventDefault();
  }
}
