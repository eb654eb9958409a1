// SPDX-License-Identifier: GPL-3.0-or-later
// The low-pass filter and the contrast of a picture, and a finer picture where the first one is too coarse.

import { make, pictures, tell } from "./common.js";

const LOW_PASS = pictures.low_pass, [LOWEST, HIGHEST] = pictures.low_passes;  // Å: of the first picture; range of the slider
const PAUSE = 200;  // ms after a change
const finer = (source, lowPass) => `${source}${source.includes("?") ? "&" : "?"}low_pass=${lowPass}`;
let number = 0;

export class Look {
  /** Take the svg of a viewer, its image element, and a function that tells whether it is zoomed in. */
  constructor(svg, picture, zoomed) {
    Object.assign(this, { picture, zoomed, source: null, full: 0, shown: "" });
    const id = `contrast_${number += 1}`;
    picture.addEventListener("error", () => tell("There is no picture: the run has none, and the file of the micrograph cannot be read."));
    this.levels = ["feFuncR", "feFuncG", "feFuncB"].map((name) => make(name, { type: "linear" }));
    svg.append(make("filter", { id, "color-interpolation-filters": "sRGB", x: 0, y: 0, width: "100%", height: "100%" },
      make("feComponentTransfer", {}, ...this.levels)));
    this.filter = `url(#${id})`;
    this.lowPass = make("input", { type: "range", min: LOWEST, max: HIGHEST, step: 5, value: LOW_PASS });
    this.contrast = make("input", { type: "range", min: 0.5, max: 4, step: 0.1, value: 1 });
    this.words = [make("output"), make("output")];
    this.panel = make("div", { class: "look", hidden: true },
      make("label", {}, "Low-pass", this.words[0], this.lowPass), make("label", {}, "Contrast", this.words[1], this.contrast),
      make("button", { type: "button", class: "small", onclick: () => this.set(LOW_PASS, 1) }, "Reset"));
    this.button = make("button", { type: "button", "aria-expanded": "false", title: "Low-pass filter and contrast", onclick: () => this.open() }, "Picture");
    for (const one of [this.lowPass, this.contrast]) one.addEventListener("input", () => this.set(this.lowPass.value, this.contrast.value));
    this.say();
  }

  open() {
    this.panel.hidden = !this.panel.hidden;
    this.button.setAttribute("aria-expanded", !this.panel.hidden);
  }

  set(lowPass, contrast) {
    this.lowPass.value = lowPass;
    this.contrast.value = contrast;
    this.say();
    this.refine();
    if (this.follower && this.follower.lowPass.value + this.follower.contrast.value !== this.lowPass.value + this.contrast.value) this.follower.set(lowPass, contrast);
  }

  say() {
    const contrast = Number(this.contrast.value);
    this.words[0].textContent = `${this.lowPass.value} Å`;
    this.words[1].textContent = `${contrast.toFixed(1)} ×`;
    for (const level of this.levels) {
      level.setAttribute("slope", contrast);
      level.setAttribute("intercept", 0.5 * (1 - contrast));
    }
    if (contrast === 1 || this.button.hidden) this.picture.removeAttribute("filter");
    else this.picture.setAttribute("filter", this.filter);
  }

  /** Show the first picture of a micrograph; `full` is its longest side in Å, 0 if there is no finer picture. */
  start(source, full) {
    Object.assign(this, { source, full, shown: source });
    this.picture.setAttribute("href", source);
    this.say();
    this.refine();
  }

  /** Load the finer picture if it is needed. */
  refine() {
    clearTimeout(this.timer);
    const usual = Number(this.lowPass.value) === LOW_PASS, sampling = this.full / pictures.side;  // Å/px of the first picture
    const fine = this.full && (!usual || (sampling > LOW_PASS / 2 && this.zoomed()));
    const wanted = fine ? finer(this.source, this.lowPass.value) : this.source;
    if (wanted === this.shown || (usual && this.shown === finer(this.source, LOW_PASS))) return;
    this.timer = setTimeout(() => {
      const image = new Image();
      image.onload = () => {
        if (!wanted.startsWith(this.source)) return;
        this.shown = wanted;
        this.picture.setAttribute("href", wanted);
        this.refine();
      };
      image.onerror = () => {
        if (!wanted.startsWith(this.source)) return;  // another micrograph is shown by now
        this.full = 0;
        tell("There is no finer picture: the file of the micrograph cannot be read.");
      };
      image.src = wanted;
    }, PAUSE);
  }
}
