"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const at = (id) => document.getElementById(id);

// Show one network, one position of each switch, the ticked series, and the rows of runs that match the filter.
function update() {
  const panel = at("panel") ? at("panel").value : null;
  const wanted = { panel: panel };
  for (const radio of all("fieldset input:checked")) wanted[radio.name] = radio.value;
  for (const part of all("figure, .scroll[data-panel], .card[data-panel]"))
    part.hidden = Object.entries(wanted).some(([key, value]) => value !== null && part.dataset[key] && part.dataset[key] !== value);
  const off = new Set(all(".chip input:not(:checked)").map((box) => box.value));
  const scorers = new Set(all(".chip input:checked").map((box) => box.value.split(": ")[0]));
  for (const part of all("figure .series, .costs tr[data-series]")) {
    const name = part.dataset.series;
    part.style.display = off.has(name) && !(part.closest("#conservation") && scorers.has(name)) ? "none" : "";
  }
  for (const chip of all(".chip")) chip.classList.toggle("absent", panel !== null && !chip.dataset.panels.split(" ").includes(panel));
  const words = at("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const here = panel === null || row.dataset.panel === panel;
    const keep = here && !off.has(row.dataset.series) && words.every((word) => texts.get(row).includes(word));
    row.hidden = !keep;
    count += keep;
  }
  const some = count === rows.length ? "" : count.toLocaleString("en") + " of ";
  at("count").textContent = some + rows.length.toLocaleString("en") + (rows.length === 1 ? " run" : " runs");
}

// Sort the table: numbers by value, other columns alphabetically; a second click reverses the order.
function sort(head) {
  const column = head.cellIndex, descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
  const keys = new Map(rows.map((row) => [row, value(row)]));
  const numeric = [...keys.values()].some((key) => key.trim() !== "" && !isNaN(key));
  const number = (key) => (isNaN(key) || key.trim() === "" ? -Infinity : Number(key));
  const compare = numeric ? (a, b) => number(a) - number(b) || 0 : (a, b) => a.localeCompare(b);
  rows.sort((a, b) => (descending ? -1 : 1) * compare(keys.get(a), keys.get(b)));
  at("table").tBodies[0].append(...rows);
}

// Copy a command to the clipboard; where a page may not use it, show the command to be copied by hand.
async function copy(button) {
  try { await navigator.clipboard.writeText(button.dataset.command); }
  catch { prompt("The command", button.dataset.command); return; }
  button.textContent = "copied";
  setTimeout(() => (button.textContent = "copy"), 1500);
}

// The text for the cell under the pointer of a map of layers (rows) by compressions (columns).
function cell(event) {
  const map = event.target.closest("figure image.series");
  const grid = map && tips[map.closest("figure").id]?.[map.dataset.series];
  if (!grid) return null;
  const { left, top, width, height } = map.getBoundingClientRect();
  const row = grid[Math.min(grid.length - 1, Math.floor(((event.clientY - top) / height) * grid.length))];
  return row?.[Math.min(row.length - 1, Math.floor(((event.clientX - left) / width) * row.length))] ?? null;
}

// Show the text for the point or cell under the pointer; a series has its points' texts in drawing order.
function tip(event) {
  const mark = event.target.closest("figure .points use");
  const words = mark && tips[mark.closest("figure").id]?.[mark.closest(".points").dataset.series];
  const box = at("tip");
  const found = words ? words[all("use", mark.closest(".points")).indexOf(mark)] : cell(event);
  box.hidden = !found;
  if (!found) return;
  box.textContent = found;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
  box.style.top = Math.max(8, event.clientY - height - 12) + "px";
}

const tips = JSON.parse(at("tips").textContent);
const rows = all("#table tbody tr");
const texts = new Map(rows.map((row) => [row, (row.textContent + " " + row.dataset.series).toLowerCase()]));
document.addEventListener("mousemove", tip);
document.addEventListener("change", update);
at("filter").addEventListener("input", update);
for (const head of all("#table th")) head.addEventListener("click", () => sort(head));
for (const button of all(".copy")) button.addEventListener("click", () => copy(button));
update();
document.body.dataset.ready = "yes";
