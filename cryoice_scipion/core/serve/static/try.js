// SPDX-License-Identifier: GPL-3.0-or-later
// Try: screen one micrograph that is dropped on the page.

import { api, areaTable, find, gradeAndArea, make, whole } from "./common.js";
import { Viewer } from "./viewer.js";

const form = find("form"), problem = find("problem");
const VIEWS = [
  ["picture.jpg", "Picture", "Low-passed to 20 Å. Bad area is tinted in the colour of its class; outlines are regions, dashed where the class is uncertain."],
  ["mean.jpg", "Local mean", "Grey level averaged over 256 Å: thick ice and film differ from their surroundings."],
  ["spectrum.jpg", "Spectrum", "Average power spectrum. Crystalline ice gives sharp spots or a ring at 3.7 Å."],
  ["probability.png", "P(BAD)", "Probability that an area is bad: dark blue 0, yellow 1."],
];
const NAMES = {
  "all.zip": "All files (ZIP)", "map.mrc": "Map of P(BAD)", "regions.csv": "Regions (CSV)", "mask.mrc": "Mask", "thumbnail.png": "Thumbnail", "result.json": "Result (JSON)",
  "accepted.star": "Accepted coordinates", "rejected.star": "Rejected coordinates",
};
const EDGE = Number(find("stage").dataset.edge);  // Å at the edge of the picture of the spectrum
const LAST = `result of ${document.querySelector("meta[name=cryoice-token]").content}`;  // its address, of this server
let viewer;

function complain(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

function choose(files) {
  const data = new DataTransfer();
  data.items.add(files[0]);
  find("micrograph").files = data.files;
  find("micrograph").dispatchEvent(new Event("change"));
}

let asked = 0;
async function screen() {
  const mine = asked += 1;
  complain("");
  const data = new FormData(form);
  if (!find("micrograph").files.length) return complain("Choose a micrograph first.");
  if (!find("coordinates").files.length) data.delete("coordinates");
  find("go").disabled = true;
  find("empty").hidden = true;
  find("result").hidden = true;
  find("facts").hidden = true;
  find("busy").hidden = false;
  document.querySelector("main").classList.remove("has-result");
  try {
    const found = await api("/api/try", { method: "POST", body: data });
    if (mine !== asked) return;  // another file was chosen meanwhile
    show(found);
    sessionStorage.setItem(LAST, found.url);
  } catch (error) {
    if (mine !== asked) return;
    complain(error.message);
    find("empty").hidden = false;
  } finally {
    if (mine === asked) {
      find("busy").hidden = true;
      find("go").disabled = false;
    }
  }
}

function show(data) {
  find("result").hidden = false;
  find("facts").hidden = false;
  document.querySelector("main").classList.add("has-result");
  viewer = viewer || new Viewer(find("stage"));
  const buttons = VIEWS.map(([file, name, words], index) => make("button", {
    type: "button", "aria-pressed": index === 0,
    onclick: () => {
      buttons.forEach((one, at) => one.setAttribute("aria-pressed", at === index));
      view(data, file, words);
    },
  }, make("img", { src: data.url + file, alt: "" }), name));
  find("views").replaceChildren(...buttons);
  view(data, VIEWS[0][0], VIEWS[0][2]);
  const kept = data.picks.filter((pick) => pick[2]).length;
  const picks = data.picks.length ? [make("h2", {}, "Coordinates"),
    make("p", {}, make("b", {}, whole(kept)), ` accepted, `, make("b", {}, whole(data.picks.length - kept)), " rejected")] : [];
  const regions = data.regions.length ? [make("h2", {}, `Regions (${data.regions.length})`), areaTable(data.regions, viewer)] : [];
  const links = data.files.map((file) => make("a", { class: "button", href: data.url + file, download: true }, NAMES[file]));
  find("facts").replaceChildren(make("h2", {}, data.name), ...data.notes.map((text) => make("p", { class: "problem" }, text)), ...gradeAndArea(data), ...regions, ...picks,
    make("h2", {}, "Download"), make("div", { class: "files" }, ...links));
}

function view(data, file, words) {
  find("caption").textContent = words;
  const square = Math.max(data.width, data.height);
  const shown = file === "spectrum.jpg" ? { ...data, width: square, height: square, mask: [], regions: [], picks: [] } : data;
  const isPicture = file === "picture.jpg";
  viewer.look.button.hidden = !isPicture;  // the other views have no filter and no contrast
  viewer.show(shown, data.url + file);
  viewer.setPicture(data.url + file, file !== "spectrum.jpg", isPicture ? square * data.pixel_size : 0);
  viewer.look.panel.hidden = viewer.look.panel.hidden || !isPicture;
  viewer.areas.classList.toggle("map", file === "probability.png");  // its colours would mix with the tint
  viewer.toggles.areas.hidden = file === "spectrum.jpg";
  if (file === "spectrum.jpg") viewer.toggles.boxes.hidden = true;
  viewer.scale.hidden = file === "spectrum.jpg";
  viewer.above.replaceChildren(...(file === "spectrum.jpg" ? rings(square) : []));
}

/** Return rings at some resolutions, for the picture of the spectrum. */
function rings(side) {
  return [3.7, 6, 12].flatMap((resolution) => {
    const radius = (side / 2) * (EDGE / resolution);
    return [make("circle", { cx: side / 2, cy: side / 2, r: radius, class: "ring" }),
      make("text", { x: side / 2, y: side / 2 - radius - side / 120, class: "ring-word", "text-anchor": "middle", "font-size": side / 36 }, `${resolution} Å`)];
  });
}

find("micrograph").addEventListener("change", () => {
  const file = find("micrograph").files[0];
  find("chosen").textContent = file ? file.name : "Choose a micrograph";
  if (file) screen();
});
form.addEventListener("submit", (event) => { event.preventDefault(); screen(); });
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    find("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files);
  });
}

/** Show the result again after the page was loaded again. */
async function restore() {
  const url = sessionStorage.getItem(LAST);
  if (!url) return;
  try {
    const found = await api(`${url}shown.json`);
    if (asked) return;  // another file was chosen meanwhile
    find("empty").hidden = true;
    show(found);
  } catch (error) {
    sessionStorage.removeItem(LAST);  // the server keeps only the latest results
  }
}
restore();
