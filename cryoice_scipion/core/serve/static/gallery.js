// SPDX-License-Identifier: GPL-3.0-or-later
// The micrographs of the run as small pictures that can be sorted; it looks for new ones while the run goes on.

import { api, counted, dot, find, make, palette, percent, tell, whole } from "./common.js";

const GRADES = Object.keys(palette.grades);
const rank = (value) => (value === null ? -Infinity : value);
const ORDERS = {
  bad: ["Bad area", (one, two) => rank(two.bad_area) - rank(one.bad_area)],
  outlier: ["Outlier", (one, two) => rank(two.outlier) - rank(one.outlier)],
  grade: ["Grade", (one, two) => GRADES.indexOf(one.grade) - GRADES.indexOf(two.grade)],
  time: ["Time", (one, two) => two.time - one.time || two.id - one.id],
};
const PAUSE = 4000;  // ms between looks at the run

export class Gallery {
  /** `choose` is called with a row; `mark` returns what stands on a card beside its bad area. */
  constructor(choose, mark, watch = () => {}) {
    Object.assign(this, { choose, mark, watch, rows: [], state: {}, selection: new Set(), chosen: null, place: 0, cards: new Map(), version: "" });
    this.list = find("cards");
    find("order").append(...Object.entries(ORDERS).map(([key, [name]]) => make("option", { value: key }, name)));
    find("order").addEventListener("change", () => this.draw());
    find("only").addEventListener("change", () => this.draw());
    document.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, n: 1, p: -1 }[event.key];
      if (!step || event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.step(step);
    });
  }

  async look() {
    try {
      const state = await api(`/api/run?version=${this.version}`);
      this.version = state.version;
      this.state = state;
      if (state.micrographs) {
        this.rows = state.micrographs;
        if (!this.row) this.chosen = null;  // the run was started anew
        this.draw();
      }
      this.say(this.visible.length);
      find("none").hidden = this.rows.length > 0;
      this.warn(state.warnings || []);
      this.watch(state);
      if (this.chosen === null && this.visible.length) this.pick(this.visible[0].id, false);
    } catch (error) {
      tell(error.message);
    }
    setTimeout(() => this.look(), PAUSE);
  }

  /** Say how many micrographs there are, and how many of them are shown. */
  say(seen) {
    const { finished, backlog } = this.state, all = counted(this.rows.length, "micrograph");
    const now = (seen < this.rows.length ? `${whole(seen)} of ${all}` : all) + (finished || !backlog ? "" : `, ${whole(backlog)} waiting`);
    if (find("progress").textContent !== now) find("progress").textContent = now;
  }

  /** List the warnings of the run. */
  warn(texts) {
    const box = find("warnings"), key = texts.join("\n");
    if (box.dataset.key === key) return;
    box.dataset.key = key;
    box.hidden = !texts.length;
    box.firstElementChild.textContent = counted(texts.length, "warning");
    box.replaceChildren(box.firstElementChild, ...texts.map((text) => make("p", { class: "problem" }, text)));
  }

  get visible() {
    const only = find("only").value;
    return this.rows.filter((row) => this.isWanted(row, only)).sort(ORDERS[find("order").value][1]);
  }

  isWanted(row, only) {
    if (only === "selected") return this.selection.has(row.id);
    const word = row.status === "failed" ? "" : row.verdict || row.status;
    const status = word === "accepted" ? "accepted" : "rejected";
    return only === "all" || (only === "failed" ? row.status : status) === only;
  }

  draw() {
    const rows = this.visible, at = rows.findIndex((row) => row.id === this.chosen);
    if (at >= 0) this.place = at;
    this.say(rows.length);
    const seen = rows.map((row) => {
      const card = this.card(row.id);
      this.fill(card, row);
      return card;
    });
    const now = [...this.list.children];
    if (seen.length !== now.length || seen.some((card, at) => card !== now[at])) {
      const focus = document.activeElement;
      this.list.replaceChildren(...seen);
      if (this.list.contains(focus)) focus.focus();
    }
  }

  /** Return the card of a micrograph, which may not be shown yet. */
  card(key) {
    if (!this.cards.has(key)) this.cards.set(key, this.make(this.rows.find((row) => row.id === key)));
    return this.cards.get(key);
  }

  make(row) {
    const picture = make("img", { alt: "", loading: "lazy", width: 120, height: 120 });
    return make("li", {}, make("button", { type: "button", class: "card", title: row.name, onclick: () => this.pick(row.id) },
      picture, make("span", { class: "name" }), make("span", { class: "told" })));
  }

  fill(card, row) {
    const button = card.firstChild;
    button.setAttribute("aria-pressed", row.id === this.chosen);
    button.querySelector(".name").textContent = short(row.name);
    const picture = button.querySelector("img"), source = `/api/run/${row.id}/small.jpg?version=${row.picture}`;
    if (picture.getAttribute("src") !== source) picture.setAttribute("src", source);  // it was screened again
    const words = row.status === "failed" ? "failed" : percent(row.bad_area);
    button.querySelector(".told").replaceChildren(...(row.grade ? [dot(palette.grades[row.grade])] : []), words, this.mark(row) || "");
  }

  pick(key, focus = true) {
    this.chosen = key;
    this.draw();
    const card = this.card(key).firstChild;
    if (focus) card.focus({ preventScroll: true });
    this.choose(this.row);
    if (this.list.hidden || !card.isConnected) return;
    const list = this.list, box = card.getBoundingClientRect(), room = list.getBoundingClientRect();
    if (box.top < room.top || box.bottom > room.bottom) list.scrollTop += box.top - room.top - 40;
    if (box.left < room.left || box.right > room.right) list.scrollLeft += box.left - room.left - 40;
  }

  get row() { return this.rows.find((one) => one.id === this.chosen); }

  step(by) {
    const rows = this.visible, at = rows.findIndex((one) => one.id === this.chosen);
    const wanted = at >= 0 ? at + by : by > 0 ? this.place : this.place - 1;  // after a verdict it may be filtered out
    const next = rows[Math.min(Math.max(wanted, 0), rows.length - 1)];
    if (next && next.id !== this.chosen) this.pick(next.id);
  }
}

/** Return whether a micrograph was screened again since its data were loaded. */
export const isOutdated = (data, row) => Boolean(data && row && data.id === row.id && data.picture !== row.picture);

/** Return a long name with its middle left out, because names of micrographs differ at their end. */
export function short(name) {
  const stem = name.replace(/\.[a-z]+$/i, "");
  return stem.length > 22 ? `${stem.slice(0, 6)}…${stem.slice(-14)}` : stem;
}
