// SPDX-License-Identifier: GPL-3.0-or-later
// Review: look at the micrographs of a run at any threshold, and accept or reject them by hand.

import { api, areaTable, counted, find, gradeAndArea, make, pictureOf, sequence, tell, whole } from "./common.js";
import { Gallery, isOutdated } from "./gallery.js";
import { Plane } from "./plane.js";
import { Viewer } from "./viewer.js";

const viewer = new Viewer(find("stage"));
const threshold = find("threshold"), margin = find("margin");
let state, shown, changed = { threshold: false, margin: false };
const SIGNS = { accepted: "✓", rejected: "✕" };

const gallery = new Gallery(open, (row) => row.verdict && make("b", { class: `sign ${row.verdict}`, title: `${row.verdict} by hand` }, SIGNS[row.verdict]), (now) => {
  state = now;
  if (now.micrographs && gallery.row) verdict();  // another tab or the viewer may have given one
  if (now.micrographs && isOutdated(shown, gallery.row)) open(gallery.row);
  if (plane.isOpen && now.micrographs) plane.look(false);
  if (now.threshold === null) return;
  if (!changed.threshold) threshold.value = now.threshold;
  if (!changed.margin) margin.value = now.margin;
  write();
  count();
});

const plane = new Plane(gallery, (ids) => {
  gallery.selection = ids;
  if (find("only").value === "selected") gallery.draw();
});
const selected = () => gallery.rows.filter((row) => plane.picked.has(row.id));
/** Set a verdict on the open micrograph, or remove it. */
const toggle = (name) => gallery.row && gallery.row.status !== "failed" && decide([gallery.row], gallery.row.verdict === name ? "" : name);

function write() {
  find("threshold_value").textContent = Number(threshold.value).toFixed(2);
  find("margin_value").textContent = `${margin.value} Å`;
  find("reset").hidden = !changed.threshold && !changed.margin;
}

/** Return the settings for the server; empty ones are those of the run. */
const settings = () => ({ threshold: changed.threshold ? threshold.value : "", margin: changed.margin ? margin.value : "" });

const openings = sequence();
async function open(row) {
  const isNew = openings();
  find("name").textContent = row.name;  // a verdict goes to this one, also before its picture is there
  verdict();
  if (plane.isOpen) plane.mark();
  try {
    const data = await api(`/api/run/${row.id}?${new URLSearchParams(settings())}`);
    if (isNew() && data.id === gallery.chosen) show(data);
  } catch (error) {
    if (!isNew() || row.id !== gallery.chosen) return;
    find("sheet").hidden = find("facts").hidden = false;
    find("stage").hidden = true;  // it shows the micrograph before
    find("told").replaceChildren(make("p", { class: "problem" }, error.message));
  }
}

function show(data) {
  shown = data;
  find("sheet").hidden = false;
  find("facts").hidden = false;
  find("stage").hidden = data.status === "failed";
  if (data.status !== "failed") viewer.show(data, pictureOf(data));
  const kept = data.picks.filter((pick) => pick[2]).length;
  const picks = data.picks.length ? [make("h2", {}, "Coordinates"), make("p", {}, make("b", {}, whole(kept)), ` of ${whole(data.picks.length)} reach the threshold`)] : [];
  const regions = data.regions.length ? [make("h2", {}, `Regions (${data.regions.length})`), areaTable(data.regions, viewer)] : [];
  const outlier = data.outlier === null ? [] : [make("h2", {}, "Outlier"), make("p", {}, `${data.outlier.toFixed(1)} times the typical distance from the session`)];
  const why = data.why ? [make("p", { class: "problem" }, `${data.status}: ${data.why}`)] : [];
  const rest = data.status === "failed" ? [] : [...gradeAndArea(data), ...picks, ...regions, ...outlier];
  find("told").replaceChildren(...why, ...rest);
}

function verdict() {
  const row = gallery.row;
  const failed = row.status === "failed";  // it stays so
  for (const name of ["accepted", "rejected"]) {
    find(name).setAttribute("aria-pressed", row.verdict === name);
    find(name).disabled = failed;
  }
  find("verdict").textContent = row.verdict && !failed ? `${row.verdict} by hand` : `${row.status} by the run`;
}

async function decide(rows, name) {
  try {
    const done = await api("/api/review", { method: "POST", json: { ids: rows.map((row) => row.id), verdict: name } });
    for (const row of rows) row.verdict = done.verdict;
    gallery.draw();
    verdict();
    count();
    if (plane.isOpen) plane.draw();
  } catch (error) {
    tell(error.message);
  }
}

const countings = sequence();
let waiting;
async function count() {
  const isNew = countings();
  clearTimeout(waiting);
  try {
    const found = await api(`/api/run/counts?${new URLSearchParams(settings())}`);
    if (!isNew()) return;
    const ready = found.ready < 1 ? ` (for ${Math.floor(100 * found.ready)} % of the micrographs)` : "";
    find("counts").replaceChildren(
      ...(found.of || found.ready < 1 ? [make("b", {}, whole(found.kept)), ` of ${counted(found.of, "coordinate")} kept${ready}, `] : []),
      make("b", {}, whole(found.accepted)), ` of ${counted(found.micrographs, "micrograph")} accepted`);
    clearTimeout(waiting);
    if (found.ready < 1) waiting = setTimeout(count, 400);
  } catch (error) {
    tell(error.message);
  }
}

let pause;
for (const [name, slider] of Object.entries({ threshold, margin })) {
  slider.addEventListener("input", () => {
    changed[name] = true;
    write();
    clearTimeout(pause);
    pause = setTimeout(() => { open(gallery.row); count(); }, 60);
  });
}
find("reset").addEventListener("click", () => {
  changed = { threshold: false, margin: false };
  threshold.value = state.threshold;
  margin.value = state.margin;
  write();
  open(gallery.row);
  count();
  threshold.focus();
});
for (const name of ["accepted", "rejected"]) find(name).addEventListener("click", () => toggle(name));
document.querySelectorAll("[data-verdict]").forEach((one) => one.addEventListener("click", () => decide(selected(), one.dataset.verdict)));
find("mark_whole").addEventListener("click", async () => {
  const ids = selected().map((row) => row.id), name = find("whole_class").value;
  try {
    await api("/api/labels/whole", { method: "POST", json: { ids, class: name } });
    tell(`${counted(ids.length, "micrograph is", "micrographs are")} marked as ${name}. Open Teach to train.`);
  } catch (error) {
    tell(error.message);
  }
});
find("save").addEventListener("click", async () => {
  find("save").disabled = true;
  find("saved").textContent = "Writing …";  // many micrographs take a while
  try {
    const found = await api("/api/review/save", { method: "POST", json: settings() });
    find("saved").replaceChildren("Written into the folder of the run: ", ...found.files.flatMap((file, at) => [at ? ", " : "", make("code", {}, file)]), ".");
  } catch (error) {
    find("saved").textContent = "";
    tell(error.message);
  }
  find("save").disabled = false;
});
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.target.matches("input:not([type=range]), select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = { a: "accepted", r: "rejected" }[event.key.toLowerCase()];
  if (name) toggle(name);
});
gallery.look();
