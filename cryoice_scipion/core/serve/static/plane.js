// SPDX-License-Identifier: GPL-3.0-or-later
// The map of the session: a point for each micrograph. A click opens one, a line drawn around some selects them.

import { api, counted, dot, find, make, palette, percent, tell, whole } from "./common.js";
import { short } from "./gallery.js";

const EDGE = 4, REACH = 5;  // of the 100 units of the picture
const PAUSE = 30000;  // ms between maps of a run that grows
const MOST_SHOWN = 5;  // names of selected micrographs

export class Plane {
  /** `selected` is called with the set of selected ids after each change. */
  constructor(gallery, selected) {
    Object.assign(this, { gallery, selected, picked: new Set(), points: new Map(), made: null, at: null, waiting: false });
    this.svg = find("plane");
    this.dots = make("g"); this.line = make("path", { class: "lasso" }); this.ring = make("circle", { class: "here", r: 2.6 });
    this.svg.append(this.dots, this.line, this.ring);
    for (const name of ["cards", "map"]) find(`as_${name}`).addEventListener("click", () => this.open(name === "map"));
    find("method").addEventListener("change", () => this.look(true));
    find("clear").addEventListener("click", () => { this.select([]); this.svg.focus(); });
    this.listen();
  }

  get isOpen() { return !find("map").hidden; }

  open(shown) {
    for (const name of ["cards", "map"]) find(`as_${name}`).setAttribute("aria-pressed", (name === "map") === shown);
    find("map").hidden = !shown;
    find("cards").hidden = find("sorting").hidden = shown;
    document.querySelector("main").classList.toggle("wide-left", shown);
    if (shown) this.look(false);
  }

  /** Ask for the map when the run or the method has changed. */
  async look(now) {
    const key = `${find("method").value} ${this.gallery.rows.length}`;
    clearTimeout(this.later);
    if (this.made === key) return this.draw();
    if (!now && this.at && Date.now() - this.at < PAUSE) {  // the run grows
      this.later = setTimeout(() => this.isOpen && this.look(false), PAUSE);
      return this.draw();
    }
    Object.assign(this, { made: key, at: Date.now(), waiting: true });
    this.draw();
    try {
      const found = await api(`/api/run/map?method=${find("method").value}`);
      if (this.made !== key) return;
      const scale = (share) => EDGE + (100 - 2 * EDGE) * share;
      this.points = new Map(found.points.map(([id, x, y]) => [id, [scale(x), 100 - scale(y)]]));
      this.neighbours = found.neighbours;
      this.explained = found.explained;
    } catch (error) {
      if (this.made !== key) return;
      this.made = null;
      tell(error.message);
    }
    this.waiting = false;
    this.draw();
  }

  draw() {
    const rows = this.gallery.rows.filter((row) => this.points.has(row.id));
    const grades = new Set();
    this.svg.classList.toggle("waiting", this.waiting);
    this.dots.replaceChildren(...rows.map((row) => {
      const [x, y] = this.points.get(row.id), name = row.grade || row.status;
      grades.add(name);
      return make("circle", { cx: x, cy: y, r: 1.5, fill: colour(name), "data-id": row.id, class: classOf(row, this.picked) },
        make("title", {}, words(row)));
    }));
    const legend = [...grades].sort().map((name) => make("li", {}, dot(colour(name)), name));
    find("legend").replaceChildren(...legend);
    const left = this.gallery.rows.length - rows.length;
    const plane = this.explained ? ` The plane shows ${percent(this.explained)} of the variance of brightness, contrast and texture.` : " Distances between groups mean nothing.";
    find("map_words").textContent = this.waiting ? "Arranging the micrographs …" : rows.length
      ? `Micrographs that look alike are near each other.${plane}${left ? ` ${counted(left, "micrograph is", "micrographs are")} not on it.` : ""}`
      : "The map needs at least five micrographs with measured features.";
    this.mark();
  }

  /** Show which micrograph is open, and those like it. */
  mark() {
    const row = this.gallery.row, here = row && this.points.get(row.id);
    this.ring.setAttribute("visibility", here ? "visible" : "hidden");
    if (here) { this.ring.setAttribute("cx", here[0]); this.ring.setAttribute("cy", here[1]); }
    const near = (here && this.neighbours[row.id]) || [];
    const shown = `${here && row.id}: ${near}`;
    if (this.listed === shown) return;  // a new list would lose the focus
    this.listed = shown;
    const rows = near.map((id) => this.gallery.rows.find((one) => one.id === id)).filter(Boolean);
    find("near").replaceChildren(...rows.map((one) => make("li", {}, make("button", { type: "button", class: "link", title: one.name,
      onclick: () => this.gallery.pick(one.id, false) }, dot(colour(one.grade || one.status)), `${short(one.name)}, ${one.grade || one.status}`))));
    find("near_title").hidden = !rows.length;
  }

  select(ids) {
    this.picked = new Set(ids);
    this.dots.querySelectorAll("circle").forEach((one) => one.classList.toggle("picked", this.picked.has(Number(one.dataset.id))));
    const rows = this.gallery.rows.filter((row) => this.picked.has(row.id));
    find("selection").hidden = !rows.length;
    const names = rows.slice(0, MOST_SHOWN).map((row) => short(row.name)).join(", ");
    find("selection_words").replaceChildren(make("b", {}, `${whole(rows.length)} selected`), rows.length ? `: ${names}${rows.length > MOST_SHOWN ? ", …" : ""}` : "");
    this.selected(this.picked);
  }

  /** Return the position of a pointer in units of the picture. */
  where(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [point.x, point.y];
  }

  nearest([x, y], reach) {
    let best = null, least = reach;
    for (const [id, [a, b]] of this.points) {
      const distance = Math.hypot(a - x, b - y);
      if (distance < least) [best, least] = [id, distance];
    }
    return best;
  }

  listen() {
    const svg = this.svg;
    let drawn = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      drawn = [this.where(event)];
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      if (!drawn) return;
      drawn.push(this.where(event));
      this.line.setAttribute("d", `M${drawn.join("L")}Z`);
    });
    svg.addEventListener("pointercancel", () => { drawn = null; this.line.setAttribute("d", ""); });
    svg.addEventListener("pointerup", (event) => {
      if (!drawn) return;
      const moved = Math.max(...drawn.map(([x, y]) => Math.hypot(x - drawn[0][0], y - drawn[0][1]))) > 2;
      const inside = moved ? [...this.points].filter(([, [x, y]]) => this.line.isPointInFill(new DOMPoint(x, y))).map(([id]) => id) : [];
      const one = moved ? null : this.nearest(drawn[0], REACH);
      drawn = null;
      this.line.setAttribute("d", "");
      if (one !== null) this.gallery.pick(one, false);
      else this.select(event.shiftKey ? [...this.picked, ...inside] : inside);
    });
    svg.addEventListener("keydown", (event) => {
      const side = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (side) this.step(side);
      else if (event.key === " ") this.toggle();
      else if (event.key === "Escape") this.select([]);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  /** Open the nearest micrograph in a direction. */
  step([dx, dy]) {
    const here = this.points.get(this.gallery.chosen) || [50, 50];
    let best = null, least = Infinity;
    for (const [id, [x, y]] of this.points) {
      const along = (x - here[0]) * dx + (y - here[1]) * dy, across = Math.abs((x - here[0]) * dy) + Math.abs((y - here[1]) * dx);
      if (id !== this.gallery.chosen && along > 0 && across <= 2 * along && along + across < least) [best, least] = [id, along + across];
    }
    if (best !== null) this.gallery.pick(best, false);
    const row = this.gallery.row;
    if (row) find("here_words").textContent = `${words(row)}${this.picked.has(row.id) ? ", selected" : ""}`;
  }

  /** Add the open micrograph to the selection, or take it out. */
  toggle() {
    const key = this.gallery.chosen, others = [...this.picked].filter((one) => one !== key);
    if (this.points.has(key)) this.select(others.length < this.picked.size ? others : [...others, key]);
  }
}

const colour = (name) => palette.grades[name] || { accepted: palette.kept, discarded: palette.rejected }[name] || "#808080";
const isRejected = (row) => (row.verdict || row.status) !== "accepted";
const classOf = (row, picked) => `${isRejected(row) ? "out" : ""} ${picked.has(row.id) ? "picked" : ""}`.trim();
const words = (row) => `${row.name}: ${row.grade ? `${row.grade}, ` : ""}bad area ${percent(row.bad_area)}, ${isRejected(row) ? "rejected" : "accepted"}`;
