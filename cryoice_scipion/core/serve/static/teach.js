// SPDX-License-Identifier: GPL-3.0-or-later
// Teach: mark good and bad places, train on them, compare, save the model and screen the run again with it.

import { api, bar, counted, dot, find, make, nameOf, palette, percent, pictureOf, sequence, tell } from "./common.js";
import { Gallery, isOutdated, short } from "./gallery.js";
import { Viewer } from "./viewer.js";

const CLICK = Number(find("stage").dataset.side);  // Å: side of the box that a click marks
const MOST_TILES = 8;  // marks that stand for one region
const MOST_KEPT = 20;  // kept coordinates of one micrograph that are taken as good places at once
const STAGES = { patches: "reading the marked places", baseline: "measuring the level", screening: "screening micrographs", searching: "looking at the maps" };
const viewer = new Viewer(find("stage"));
let labels = {}, mode = "bad", data = null, history = [], judges = [], before, after, opened = 0;

const gallery = new Gallery(open, (row) => {
  const number = (labels[row.stem] || []).length;
  return number ? make("b", { class: "sign", title: counted(number, "marked place") }, `▣ ${number}`) : null;
}, (now) => now.micrographs && isOutdated(data, gallery.row) && find("comparison").hidden && open(gallery.row));

async function open(row, box = null) {
  const mine = opened += 1;
  try {
    await sending;
    const [found, marked] = await Promise.all([api(`/api/run/${row.id}`), api("/api/labels")]);
    if (mine !== opened) return;  // another one, or a comparison, was opened meanwhile
    if (found.status === "failed") throw new Error(`${found.name} failed: ${found.why}`);
    if (!isOutdated(data, found)) history = [];  // else it was screened again, and its marks can still be undone
    [data, labels] = [found, marked];  // the viewer of Scipion may have changed the marks
    compare(null);
    viewer.show(data, pictureOf(data));
    find("name").textContent = data.name;
    listRegions();
    draw();
    if (!box) return;
    viewer.showBox(box);
    const [x, y, width, height] = box;
    viewer.above.append(make("rect", { x, y, width, height, class: "box", stroke: "#fff" }));  // until the next mark
  } catch (error) {
    tell(error.message);
  }
}

/** Open the micrograph of a found region, and zoom to it. */
function goTo(one) {
  gallery.chosen = one.id;
  gallery.draw();
  open(gallery.row, one.box);
}

// ---- marks

const own = () => labels[data.stem] || [];
const colour = (label) => (label.good ? palette.kept : label.class === "bad" ? palette.rejected : palette.classes[label.class]);

function draw() {
  viewer.above.replaceChildren(...own().flatMap((label, index) => {
    const box = { x: label.x, y: label.y, width: label.width, height: label.height };
    const size = Math.max(viewer.data.width / 40, 1);
    return [make("rect", { ...box, class: "mark-halo" }),
      make("rect", { ...box, class: `mark ${label.good ? "good" : "bad"}`, stroke: colour(label), fill: colour(label), "data-index": index },
        make("title", {}, `${label.good ? "good" : label.class}: click on the sign to remove`)),
      make("text", { x: label.x + label.width / 2, y: label.y + label.height / 2 + size / 3, class: "mark-word mid", "font-size": size }, `${label.good ? "✓" : "✕"}${label.width > 6 * size ? ` ${label.good ? "good" : label.class}` : ""}`)];
  }));
  find("undo").disabled = !history.length;
  find("kept").hidden = !data.picks.some((pick) => pick[2]);
  for (const { button, one, good } of judges) button.setAttribute("aria-pressed", marksOf(one).some((label) => label.good === good));
}

/** List the regions that the model found, each with two buttons that mark its inside as bad or as good. */
function listRegions() {
  const regions = data.regions.filter((one) => one.likeliest !== "border");
  judges = [];
  const buttons = (one, index) => [["Right", false, one.likeliest], ["Wrong", true, "good"]].map(([word, good, name]) => {
    const judge = () => {
      const marks = marksOf(one), others = own().filter((label) => !marks.includes(label));
      const places = marks.some((label) => label.good === good) ? [] : one.tiles;  // a second press removes the marks
      change([...others, ...places.map((place) => ({ ...place, class: name, good }))]);
    };
    const button = make("button", { type: "button", class: "small", "aria-label": `${word}: region ${index + 1}, ${one.class}`, onclick: judge }, word);
    judges.push({ button, one, good });
    return button;
  });
  find("regions").replaceChildren(...regions.slice(0, 40).map((one, index) => make("li", { class: "proposal" },
    make("button", { type: "button", class: "link", title: `confidence ${Math.round(100 * one.confidence)} %`, onclick: () => viewer.showArea(data.regions.indexOf(one)) }, dot(palette.classes[one.likeliest]), nameOf(one)), ...buttons(one, index))));
  if (!regions.length) find("regions").replaceChildren(make("li", { class: "help" }, "None on this micrograph."));
}

/** Return the marks that a judgement of a region has made. */
function marksOf(one) {
  one.tiles = one.tiles || tiles(one);
  return own().filter((label) => one.tiles.some((tile) => label.x === tile.x && label.y === tile.y && label.width === tile.width));
}

/** Return boxes inside a region. The box around it would also hold what is beside it. */
function tiles(region) {
  const [x, y, width, height] = region.box, path = make("path", { d: region.path, "fill-rule": "evenodd" });
  viewer.above.append(path);  // only a path that is shown can be asked
  const inside = (px, py) => path.isPointInFill(new DOMPoint(px, py));
  const side = Math.max(CLICK / data.pixel_size, Math.sqrt(width * height) / 6), found = [], middles = [];
  const columns = Math.max(1, Math.round(width / side)), rows = Math.max(1, Math.round(height / side));
  const wide = width / columns, high = height / rows;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const left = x + column * wide, top = y + row * high;
      const corners = [[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9], [0.5, 0.5]].map(([a, b]) => inside(left + a * wide, top + b * high));
      if (corners.every(Boolean)) found.push({ x: left, y: top, width: wide, height: high });
      if (corners[4]) middles.push({ x: left + wide / 4, y: top + high / 4, width: wide / 2, height: high / 2 });
    }
  }
  path.remove();
  const all = found.length ? found : middles.length ? middles : [{ x, y, width, height }];
  const step = Math.ceil(all.length / MOST_TILES);
  return all.filter((one, index) => index % step === 0);
}

let sending = Promise.resolve();
/** Replace the marks of this micrograph at once, and send them after the earlier changes. */
function change(next, undone = false) {
  const stem = data.stem, shown = own();
  if (!undone) history.push([shown, next]);
  labels[stem] = next;
  gallery.draw();
  draw();
  sending = sending.then(async () => {
    try {
      await api("/api/labels", { method: "POST", json: { stem, labels: next, shown } });
      poll();
      const found = await api("/api/labels");  // another tab, or the viewer of Scipion, may have marked places too
      if (labels[stem] !== next || data.stem !== stem) return;
      labels = found;
      gallery.draw();
      draw();
    } catch (error) {
      tell(error.message);
      labels = await api("/api/labels").catch(() => labels);
      draw();
    }
  });
}

const add = (label) => change([...own(), label]);

/** Return the box between two points, within the micrograph; a click gives a box of usual size. */
function box(start, end, least = viewer.view[2] / 80) {
  let [x, y] = [Math.min(start[0], end[0]), Math.min(start[1], end[1])];
  let [width, height] = [Math.abs(start[0] - end[0]), Math.abs(start[1] - end[1])];
  if (Math.max(width, height) < least) {
    width = height = CLICK / data.pixel_size;
    [x, y] = [end[0] - width / 2, end[1] - height / 2];
  }
  const left = Math.max(0, x), top = Math.max(0, y);
  return { x: left, y: top, width: Math.min(data.width, x + width) - left, height: Math.min(data.height, y + height) - top };
}

/** Return whether a click at a point means a mark: its sign in the middle, so that places beside it can be marked. */
function holds(one, [x, y]) {
  const reach = (side) => Math.min(side / 4, viewer.view[2] / 25);
  return Math.abs(x - one.x - one.width / 2) <= reach(one.width) && Math.abs(y - one.y - one.height / 2) <= reach(one.height);
}

const pen = {
  move(start, now) {
    viewer.above.querySelector(".drawn")?.remove();
    viewer.above.append(make("rect", { ...box(start, now), class: "mark drawn", stroke: mode === "good" ? palette.kept : palette.rejected, fill: "none" }));
  },
  end(start, now) {
    viewer.above.querySelector(".drawn")?.remove();
    const moved = Math.hypot(start[0] - now[0], start[1] - now[1]) > viewer.view[2] / 80;
    const hit = own().findIndex((one) => holds(one, now));
    if (!moved && hit >= 0) {
      tell("The mark is removed. Undo brings it back.");
      return change(own().filter((one, index) => index !== hit));
    }
    const place = box(start, now);
    if (place.width <= 0 || place.height <= 0) return;
    add({ ...place, class: mode === "good" ? "good" : find("class").value, good: mode === "good" });
  },
};

function setMode(name) {
  mode = name;
  document.querySelectorAll("[data-mode]").forEach((one) => one.setAttribute("aria-pressed", one.dataset.mode === name));
  viewer.draw = name === "move" ? null : pen;
  viewer.svg.classList.toggle("drawing", name !== "move");
}

/** Take back the last change; marks of other tabs stay. */
function undo() {
  if (!history.length) return;
  const [before, after] = history.pop(), key = (one) => [one.x, one.y, one.width, one.height, one.class].join();
  const without = (marks, others) => { const known = new Set(others.map(key)); return marks.filter((one) => !known.has(key(one))); };
  const left = without(own(), without(after, before));
  change([...left, ...without(without(before, after), left)], true);
}

document.querySelectorAll("[data-mode]").forEach((one) => one.addEventListener("click", () => setMode(one.dataset.mode)));
find("undo").addEventListener("click", undo);
viewer.svg.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || mode === "move" || !data) return;
  const [x, y, width, height] = viewer.view, middle = [x + width / 2, y + height / 2];
  pen.end(middle, middle);
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=range]), select") || find("marking").hidden) return;
  const modes = { 1: "move", 2: "bad", 3: "good" };
  if (event.key.toLowerCase() === "z" && !event.shiftKey) undo();
  else if (modes[event.key] && !event.ctrlKey && !event.altKey && !event.metaKey) setMode(modes[event.key]);
});

/** Return kept coordinates that are far from each other and from the marks, as good places. */
function keptPlaces() {
  const side = data.diameter || CLICK / data.pixel_size, middle = (one) => [one.x + one.width / 2, one.y + one.height / 2];
  const taken = own().map((one) => [...middle(one), Math.hypot(one.width, one.height) / 2]);
  let left = data.picks.filter((pick) => pick[2]).map(([x, y]) => ({ x, y, room: Infinity }));
  const found = [];
  const note = (x, y, radius) => { for (const one of left) one.room = Math.min(one.room, Math.hypot(one.x - x, one.y - y) - radius); };
  for (const [x, y, radius] of taken) note(x, y, radius);
  while (found.length < MOST_KEPT) {
    left = left.filter((one) => one.room > side);
    if (!left.length) break;
    const best = left.reduce((one, two) => (two.room > one.room ? two : one));
    found.push({ ...box([best.x - side / 2, best.y - side / 2], [best.x + side / 2, best.y + side / 2], 0), class: "good", good: true });
    note(best.x, best.y, 0);
  }
  return found;
}

find("kept").addEventListener("click", () => {
  const places = keptPlaces();
  if (!places.length) return tell("No kept coordinate is far enough from the marks.");
  change([...own(), ...places]);
  tell(`${counted(places.length, "kept coordinate is", "kept coordinates are")} marked as good. Click on the sign of a wrong one to remove it.`);
});

// ---- training

async function act(json) {
  try {
    await sending;  // the marks come first
    await api("/api/teach", { method: "POST", json });
    await poll();
    return true;
  } catch (error) {
    tell(error.message);
    return false;
  }
}

function show(state) {
  const { counts, job } = state;
  if (working && !job.running && !job.error) tell(`The ${working} has ended.`);
  working = job.running ? job.what : "";
  const on = (number) => ` on ${number} micrograph${number === 1 ? "" : "s"}`;
  find("marks").replaceChildren(make("b", { class: "bad-word" }, `✕ ${counts.bad} bad`), on(counts.bad_micrographs), make("br"),
    make("b", { class: "good-word" }, `✓ ${counts.good} good`), on(counts.good_micrographs));
  find("missing").replaceChildren(...state.missing.map((text) => make("p", { class: "help" }, text)));
  find("train").disabled = job.running || state.missing.length > 0;
  find("stop").hidden = find("work").hidden = !job.running;
  find("stage_name").textContent = `${job.what}: ${STAGES[job.stage] || job.stage}`;
  find("bar").value = 100 * job.progress;
  find("failed").hidden = !job.error;
  find("failed").textContent = job.error;
  find("trained").hidden = !state.trained;
  find("measures").textContent = words(state.measures);
  const none = ["none", 0, make("li", { class: "help" }, "The comparison was interrupted. Train again, or save the model and screen again.")];
  const compared = [[false, "Without marks: these show whether the model is better."], [true, "With marks: these show whether it has learnt them."]].flatMap(([marked, title]) => {
    const items = state.compared.filter((one) => one.marked === marked).map((one) => ["compared", one.id, make("li", {}, make("button", { type: "button", class: "link", title: one.name, onclick: () => compare(one) }, short(one.name)))]);
    return items.length ? [["title", marked, make("li", { class: "help" }, title)], ...items] : [];
  });
  replace("compared", !state.compared.length && !job.running ? [none] : compared);
  find("find").disabled = job.running || !counts.bad;
  replace("found", state.found.map((one, index) => ["found", index + one.name, make("li", { class: "proposal" },
    make("button", { type: "button", class: "link", title: one.name, onclick: () => goTo(one) }, dot(palette.classes[one.class] || palette.rejected), `${one.class} ${Math.round(100 * one.confidence)} %, ${short(one.name)}`))]));
  find("saved").hidden = !state.models.length;
  replace("models", state.models.map((one) => ["models", one.name + one.screened, make("li", {}, make("b", {}, one.name), " ",
    make("button", { type: "button", class: "small", onclick: () => act({ act: "screen", name: one.name }) }, "Screen again"),
    one.screened ? make("p", { class: "help" }, "Screened. Stop the server, and open the result: ", make("code", {}, `cryoice serve --run ${one.screened}`)) : null)]));
}

/** Return what the training says of the marks that it did not use. */
function words({ before, after }) {
  if (!after) return "";
  const worse = before > after ? " The model before was better on them: look at the pictures, and mark more places." : "";
  return `AUC on marked places that the training did not use: ${after.toFixed(3)}, before ${before.toFixed(3)} (1 is best).${worse}`;
}

/** Fill a list unless it shows the same things already, so that it keeps the focus. */
function replace(name, items) {
  const key = JSON.stringify(items.map((one) => one.slice(0, 2)));
  if (find(name).dataset.key === key) return;
  find(name).dataset.key = key;
  find(name).replaceChildren(...items.map((one) => one[2]));
}

const polls = sequence();
let timer, working = "";  // the job at the last look
/** Show the state of the server, and look again later. */
async function poll() {
  const isNew = polls();
  let pause = 4000;
  try {
    const state = await api("/api/teach");
    if (!isNew()) return;
    show(state);
    if (state.job.running) pause = 700;
  } catch (error) {
    tell(error.message);
  }
  clearTimeout(timer);
  timer = setTimeout(poll, pause);
}

find("train").addEventListener("click", () => act({ act: "train" }));
find("find").addEventListener("click", () => act({ act: "find" }));
find("stop").addEventListener("click", () => act({ act: "stop" }));
find("saving").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = find("new_name").value.trim();
  if (await act({ act: "save", name })) tell(`The model ${name} is saved.`);
});

// ---- comparison

async function compare(one) {
  find("comparison").hidden = !one;
  find("marking").hidden = Boolean(one);
  find("main").classList.toggle("comparing", Boolean(one));
  if (!one) return;
  const mine = opened += 1;
  try {
    const found = await api(`/api/teach/${one.id}`);
    if (mine !== opened) return;
    if (!before) {
      before = new Viewer(find("before"));
      after = new Viewer(find("after"));
      before.follower = after;
      after.follower = before;
      before.look.follower = after.look;
      after.look.follower = before.look;
    }
    for (const [name, which] of Object.entries({ before, after })) {
      which.show({ ...found[name], picks: [] }, pictureOf(found.before));
      const parts = Object.entries(found[name].areas).map(([key, share]) => [key, share, palette.classes[key]]);
      find(`${name}_words`).replaceChildren(`Bad area ${percent(found[name].bad_area)}`, bar(parts));
    }
    find("name").textContent = one.name;
  } catch (error) {
    tell(error.message);
  }
}
find("back").addEventListener("click", () => open(gallery.row));

setMode("bad");
viewer.toggles.picks.click();  // the places matter here
api("/api/labels").then((found) => { labels = found; gallery.look(); poll(); }).catch((error) => tell(error.message));
