"use strict";
// Numbers as `core.columns.number_text` shows them in the terminal; the CSV files have them in full.
function fixed(number, digits) {
  const text = number.toFixed(digits);
  // toFixed takes the larger neighbour of a tie, Python the even one.
  const tie = Math.abs((number * 2 ** (digits + 1)) % 2) === 1;
  if (!tie || "02468".includes(text.at(-1))) return text;
  return text.slice(0, -1) + (Number(text.at(-1)) - 1);
}

function exponential(number, digits) {
  return number.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");
}

function shown(value, whole) {
  if (value === null || value === undefined || value === "") return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value !== "number") return String(value);
  if (whole) return String(value);
  const size = Math.abs(value);
  if (size >= 99999.5) return exponential(value, 2);
  if (size >= 999.95) return fixed(value, 1);
  if (size > 0 && size < 0.0005) return exponential(value, 1);
  return value === 0 ? "0.000" : fixed(value, 3);
}

function exact(value) {
  return value === null || value === undefined ? "" : String(value);
}

// An element with properties and children; text is always text, never markup.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A number with where it is from: table, row and column of a CSV file.
function cited(value, table, row, column, whole) {
  return make("data", { value: exact(value), "data-cell": `${table}:${row}:${column}` }, shown(value, whole));
}

// Where a page, or a channel of it, is found: in a file of its own, or, when all pages are one file, in that.
const SINGLE = "single" in document.documentElement.dataset;

function addressOf(page, channel) {
  const at = channel === undefined || channel === null ? "" : String(channel);
  if (SINGLE) return at ? `#${page}/${at}` : `#${page}`;
  return `${page}.html#${at}`;
}

// The channel that an address names; null where it names none.
function channelIn(hash) {
  const text = SINGLE ? hash.split("/")[1] || "" : hash.slice(1);
  return /^\d+$/.test(text) ? Number(text) : null;
}

// Pictures are files beside the page, or all in it, by the names of those files.
const inlined = new Map();
function sourceOf(file) {
  if (!SINGLE) return file;
  if (!inlined.size) for (const item of Object.entries(JSON.parse(document.getElementById("picture-files").textContent))) inlined.set(...item);
  return inlined.get(file);
}

// What the neuron sees of a picture, or all of it; the style sheet does the cutting.
function picture(file, crop, side, alt) {
  if (!file) return make("div", { class: "picture none", role: "img", "aria-label": `${alt}: not stored` }, "none");
  const [start, stop] = crop || [0, side];
  const style = `--start:${start};--shown:${stop - start};--side:${side}`;
  return make("div", { class: "picture", style }, make("img", { src: sourceOf(file), alt, decoding: "async" }));
}
