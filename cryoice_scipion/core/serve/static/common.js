// SPDX-License-Identifier: GPL-3.0-or-later
// Shared by all pages: requests to the server, making elements, and numbers in words.

export const palette = JSON.parse(document.body.dataset.palette);
export const pictures = JSON.parse(document.body.dataset.pictures);
const token = document.querySelector("meta[name=cryoice-token]").content;
const SVG = "http://www.w3.org/2000/svg";

/** Send a request; return its JSON, or throw an Error with the server's sentence. */
export async function api(path, options = {}) {
  const given = { ...options, headers: { "x-cryoice-token": token, ...options.headers } };
  if (options.json !== undefined) {
    given.body = JSON.stringify(options.json);
    given.headers["content-type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, given);
  } catch (error) {
    throw new Error("The server does not answer. Start it again: cryoice serve.");
  }
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(text || `The server answered ${answer.status}.`);
  }
  if (!answer.ok) throw new Error(value.error);
  return value;
}

/** Make an element: make("p", {class: "x"}, "text", child, ...). Names that begin with "on" are listeners. */
export function make(name, attributes = {}, ...children) {
  const known = ["svg", "g", "path", "circle", "rect", "image", "title", "text", "line", "filter", "feComponentTransfer", "feFuncR", "feFuncG", "feFuncB"].includes(name);
  const element = known ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith("aria-")) element.setAttribute(key, String(value));
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const find = (name) => document.getElementById(name);
export const percent = (share) => (share === null || share === undefined ? "–" : share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);
export const whole = (number) => Math.round(number).toLocaleString("en");
export const counted = (number, one, several = `${one}s`) => `${whole(number)} ${number === 1 ? one : several}`;

/** Return the address of the picture of a micrograph, which changes when it is screened again. */
export const pictureOf = (data) => `/api/run/${data.id}/picture.jpg?version=${data.picture}`;

/** Return a small square of a colour, as a picture, because the policy of the page allows no inline style. */
export function dot(colour) {
  const box = make("svg", { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" });
  box.append(make("rect", { width: 10, height: 10, fill: colour }));
  return box;
}

/** Return a bar that shows shares of 1, each in its colour: [[name, share, colour], ...]. */
export function bar(parts) {
  const words = parts.map(([name, share]) => `${name} ${percent(share)}`).join(", ") || "none";
  const box = make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", class: "bar", role: "img", "aria-label": words });
  let left = 0;
  for (const [, share, colour] of parts) {
    box.append(make("rect", { x: left, width: 100 * share, height: 10, fill: colour }));
    left += 100 * share;
  }
  return box;
}

/** Return a function to call before each request. It returns another, which tells whether the answer is not outdated. */
export function sequence() {
  let asked = 0, shown = 0;
  return () => {
    const mine = ++asked;
    return () => {
      if (mine < shown) return false;
      shown = mine;
      return true;
    };
  };
}

let timer;
/** Show a line at the bottom of the page, which screen readers read. */
export function tell(text) {
  clearTimeout(timer);
  find("news").textContent = text;
  timer = setTimeout(() => { find("news").textContent = ""; }, 7000);
}

/** Return the class of a region in words. */
export const nameOf = (region) => (region.class === "uncertain" ? `${region.likeliest}?` : region.class);

/** Return the table of the regions; a click shows one in the viewer. */
export function areaTable(regions, viewer) {
  const rows = regions.map((one, index) => make("tr", {},
    make("td", {}, make("button", { class: "link", type: "button", onclick: () => viewer.showArea(index) }, dot(palette.classes[one.likeliest]), nameOf(one))),
    make("td", { class: "number" }, one.confidence === null ? "–" : `${Math.round(100 * one.confidence)} %`),
    make("td", { class: "number" }, whole(one.area))));
  const head = ["Class", "Confidence", "nm²"].map((name, at) => make("th", { scope: "col", class: at ? "number" : null }, name));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Regions" },
    make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
}

/** Return what all pages say of a micrograph: grade and bad area. */
export function gradeAndArea(data) {
  const parts = Object.entries(data.areas).map(([name, share]) => [name, share, palette.classes[name]]);
  parts.sort((one, two) => two[1] - one[1]);
  const grade = data.grade ? [
    make("p", { class: "grade" }, dot(palette.grades[data.grade]), data.grade, make("small", {}, `${Math.round(100 * data.confidence)} %`)),
    make("p", {}, data.reason)] : [];
  return [...grade, make("h2", {}, "Bad area"), make("p", { class: "big" }, percent(data.bad_area)), bar(parts),
    make("ul", {}, ...parts.map(([name, share, colour]) => make("li", {}, dot(colour), ` ${name} ${percent(share)}`)))];
}
