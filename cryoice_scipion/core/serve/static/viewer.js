// SPDX-License-Identifier: GPL-3.0-or-later
// A micrograph with its bad areas and coordinates, which can be zoomed and moved. Units are px of the micrograph.

import { counted, make, nameOf, palette } from "./common.js";
import { Look } from "./look.js";

const STEP = 1.25, MOST = 40;
const wordsOf = (region) => `${nameOf(region)} ${Math.round(100 * region.confidence)} %`;

export class Viewer {
  constructor(holder) {
    this.svg = make("svg", { class: "picture", tabindex: 0, role: "img", "aria-label": "Micrograph" });
    this.picture = make("image", { preserveAspectRatio: "none" });
    this.areas = make("g"); this.boxes = make("g"); this.picks = make("g"); this.above = make("g");
    this.svg.append(this.picture, this.areas, this.boxes, this.picks, this.above);
    this.look = new Look(this.svg, this.picture, () => this.svg.classList.contains("zoomed"));
    this.toggles = {
      areas: this.toggle("Bad areas", "B", this.areas), boxes: this.toggle("Boxes", "X", this.boxes), picks: this.toggle("Coordinates", "C", this.picks),
    };
    const button = (text, words, act) => make("button", { type: "button", title: words, "aria-label": words, onclick: act }, text);
    this.scale = make("div", { class: "scale", "aria-hidden": "true" });
    holder.className = "stage";
    this.toggles.boxes.click();  // they say no more than the outlines, but for their words
    holder.replaceChildren(make("div", { class: "tools" }, ...Object.values(this.toggles), this.look.button,
      make("span", { class: "gap" }), button("−", "Zoom out (-)", () => this.zoom(1 / STEP)),
      button("+", "Zoom in (+)", () => this.zoom(STEP)), button("Fit", "Fit the whole micrograph (0)", () => this.fit()), this.look.panel), this.svg, this.scale);
    this.points = new Map();
    this.listen();
    new ResizeObserver(() => this.drawScale()).observe(this.svg);
  }

  toggle(text, key, layer) {
    const button = make("button", { type: "button", "aria-pressed": "true", title: `Show or hide (${key})` }, text);
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      layer.setAttribute("visibility", shown ? "visible" : "hidden");
    });
    return button;
  }

  /** Show a micrograph: width, height, pixel_size, mask, regions, picks, diameter; `source` is its picture, of 20 Å. */
  show(data, source) {
    const as_large = this.data && this.data.width === data.width && this.data.height === data.height;
    const same = as_large && this.source.split("?")[0] === source.split("?")[0];  // perhaps screened again
    const isOld = same && this.source === source;
    this.data = data;
    this.source = source;
    if (!isOld) this.setPicture(source, true, Math.max(data.width, data.height) * data.pixel_size);
    this.svg.setAttribute("aria-label", `Micrograph ${data.name}, ${counted(data.regions.length, "region")} of bad area`);
    this.drawAreas(data.mask, data.regions);
    this.drawPicks(data.picks);
    if (!same) this.fit();
  }

  /** Set the picture; `full` is the longest side in Å if the server has a finer one. */
  setPicture(source, with_marks = true, full = 0) {
    this.picture.setAttribute("width", this.data.width);
    this.picture.setAttribute("height", this.data.height);
    this.look.start(source, full);
    for (const layer of [this.areas, this.boxes, this.picks]) layer.setAttribute("display", with_marks ? "inline" : "none");
  }

  /** Tint the bad area, and outline the regions. */
  drawAreas(mask, regions) {
    const tints = mask.map((one) => make("path", { d: one.path, class: "tint", fill: palette.classes[one.class], "fill-rule": "evenodd" }));
    const size = this.data.width / 45;
    this.boxes.replaceChildren(...regions.filter((one) => one.class !== "border").flatMap((one) => {
      const [x, y, width, height] = one.box;
      return [make("rect", { x, y, width, height, class: "box", stroke: palette.classes[one.likeliest] }),
        make("text", { x, y: Math.max(y - size / 4, size), class: "mark-word", "font-size": size }, wordsOf(one))];
    }));
    const outlines = regions.filter((one) => one.class !== "border").map((one) => {
      const title = make("title", {}, `${wordsOf(one)}, ${one.area.toLocaleString("en")} nm²`);
      const index = regions.indexOf(one);
      return make("g", {}, make("path", { d: one.path, class: "halo" }), make("path", {
        d: one.path, class: `area ${one.class}`, stroke: palette.classes[one.likeliest], "fill-rule": "evenodd", "data-index": index }, title));
    });
    this.areas.replaceChildren(...tints, ...outlines);
  }

  drawPicks(picks) {
    const radius = Math.max(this.data.diameter / 2, this.data.width / 250), arm = radius * 0.7;
    const halo = [], kept = [], rejected = [];
    for (const [x, y, is_kept] of picks) {
      if (is_kept) kept.push(`M${x - radius} ${y}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`);
      else rejected.push(`M${x - arm} ${y - arm}l${2 * arm} ${2 * arm}m0 ${-2 * arm}l${-2 * arm} ${2 * arm}`);
      if (!is_kept) halo.push(rejected[rejected.length - 1]);
    }
    this.picks.replaceChildren(make("path", { d: kept.join(""), class: "pick", stroke: palette.kept }),
      make("path", { d: halo.join(""), class: "halo" }), make("path", { d: rejected.join(""), class: "pick", stroke: palette.rejected }));
    this.toggles.picks.hidden = !picks.length;
    this.toggles.boxes.hidden = !this.boxes.childElementCount;
  }

  /** Zoom to one bad area, and mark it. */
  showArea(index) {
    this.showBox(this.data.regions[index].box);
    this.areas.querySelectorAll(".area").forEach((one) => one.classList.toggle("marked", one.dataset.index === String(index)));
  }

  showBox([x, y, width, height]) {
    const side = Math.max(width, height, this.data.width / 12) * 1.6;
    this.setView(x + width / 2 - side / 2, y + height / 2 - side / 2, side);
  }

  fit() { this.setView(0, 0, Math.max(this.data.width, this.data.height), true); }

  /** Show a square of `side` px whose corner is x, y; the rest of the element shows more. */
  setView(x, y, side, whole = false) {
    const full = Math.max(this.data.width, this.data.height);
    side = Math.max(side, full / MOST);
    if (side >= full) whole = true;
    this.view = whole ? [0, 0, this.data.width, this.data.height] : [x, y, side, side];
    this.svg.classList.toggle("zoomed", !whole);
    this.svg.setAttribute("viewBox", this.view.join(" "));
    this.drawScale();
    this.look.refine();
    const other = this.follower;  // shows the same part
    if (other && other.data && other.view && String(other.view) !== String(this.view)) other.setView(x, y, side, whole);
  }

  zoom(factor, at = null) {
    const [x, y, width, height] = this.view;
    const [cx, cy] = at || [x + width / 2, y + height / 2];
    const full = Math.max(this.data.width, this.data.height), side = Math.max(width, height) / factor;
    if (side >= full) return this.fit();
    const share = side / Math.max(width, height), middle = [x + width / 2, y + height / 2];
    this.setView(cx + (middle[0] - cx) * share - side / 2, cy + (middle[1] - cy) * share - side / 2, side);
  }

  move(dx, dy) {
    const [x, y, width, height] = this.view;
    if (Math.max(width, height) < Math.max(this.data.width, this.data.height)) this.setView(x + dx * width, y + dy * width, width);
  }

  /** Return the position of a pointer in px of the micrograph. */
  at(event) {
    const inverse = this.svg.getScreenCTM().inverse();
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(inverse);
    return [point.x, point.y];
  }

  drawScale() {
    const matrix = this.data && this.svg.getScreenCTM();
    if (!matrix || !matrix.a) return;
    const stroke = Math.min(2, Math.max(0.8, (this.data.diameter / 2) * matrix.a * 0.17 || 1.6));
    this.picks.querySelectorAll(".pick").forEach((one) => one.setAttribute("stroke-width", stroke));
    const nm = (matrix.a * 10) / this.data.pixel_size;  // screen px in a nanometre
    const length = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].find((one) => one * nm > 60) || 5000;
    const line = make("svg", { width: length * nm, height: 4, "aria-hidden": "true" });
    line.append(make("rect", { width: length * nm, height: 4, fill: "#fff" }));
    this.scale.replaceChildren(`${length} nm`, make("br"), line);
  }

  listen() {
    const svg = this.svg;
    svg.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, this.at(event));
    }, { passive: false });
    svg.addEventListener("dblclick", (event) => { if (!this.draw) this.zoom(2, this.at(event)); });
    svg.addEventListener("pointerdown", (event) => {
      if (event.button || !this.data) return;
      this.points.set(event.pointerId, this.at(event));
      this.start = this.at(event);
      if (this.draw || svg.classList.contains("zoomed")) svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => this.pointerMoved(event));
    for (const name of ["pointerup", "pointercancel"]) {
      svg.addEventListener(name, (event) => {
        if (this.points.delete(event.pointerId) && this.draw && !this.points.size && name === "pointerup") {
          this.draw.end(this.start, this.at(event));
        }
      });
    }
    svg.addEventListener("keydown", (event) => {
      const keys = {
        "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), 0: () => this.fit(),
        b: () => this.toggles.areas.click(), c: () => this.toggles.picks.click(), x: () => this.toggles.boxes.click(),
      };
      const zoomed = svg.classList.contains("zoomed");
      if (zoomed) Object.assign(keys, { ArrowLeft: () => this.move(-0.1, 0), ArrowRight: () => this.move(0.1, 0), ArrowUp: () => this.move(0, -0.1), ArrowDown: () => this.move(0, 0.1) });
      const act = keys[event.key] || keys[event.key.toLowerCase()];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    });
  }

  pointerMoved(event) {
    const before = this.points.get(event.pointerId);
    if (!before) return;
    const now = this.at(event);
    if (this.points.size === 2) {  // pinch
      const other = [...this.points].find(([key]) => key !== event.pointerId)[1];
      const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      if (distance(before)) this.zoom(distance(now) / distance(before), other);
    } else if (this.draw) {
      this.draw.move(this.start, now);
      return;
    } else if (this.svg.classList.contains("zoomed")) {
      const [x, y, width] = this.view;
      this.setView(x + before[0] - now[0], y + before[1] - now[1], width);
    }
    this.points.set(event.pointerId, this.at(event));
  }
}
