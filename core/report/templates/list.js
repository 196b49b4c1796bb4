// The table of a block: rows are made as they come near the screen, from the data in the page.
let data = null;
let details = null;
let table, columnOf;
const field = (row, name) => table.rows[row][columnOf.get(name)];
const byId = (id) => document.getElementById(id);
const DEFAULT = ["channel", "mix_ratio", "update", "scale_metric", "scale_invariant", "robust", "block_gain", "input_gain", "rho", "late_rise", "marked", "tags", "note", "status"];
const CHUNK = 40;
const TENSORS = { in: "FZ(I)", block: "FZ(B)", out: "FZ(O)" };
const READS = { in: "I", block: "B", out: "O" };
const state = { columns: [], sort: "channel", descending: false, order: [], made: 0, whole: false };
const isWhole = (name) => data.describe[name].whole;

function compareValues(a, b, kind) {
  if (kind === "text") return String(a).localeCompare(String(b), "en", { numeric: true });
  return Number(a) - Number(b);
}

function sortedRows(rows) {
  const place = columnOf.get(state.sort);
  const kind = data.describe[state.sort].kind;
  const value = (row) => table.rows[row][place];
  const empty = (row) => value(row) === null || value(row) === "";
  // Empty fields come last in both directions; of equals the lower channel first.
  return rows.sort((a, b) => {
    if (empty(a) || empty(b)) return Number(empty(a)) - Number(empty(b)) || a - b;
    const difference = compareValues(value(a), value(b), kind);
    return (state.descending ? -difference : difference) || a - b;
  });
}

function chosenRows() {
  const message = byId("filter-error");
  let accepts = () => true;
  try {
    accepts = compileFilter(byId("filter").value, table, data.describe);
    message.textContent = "";
    byId("filter").removeAttribute("aria-invalid");
  } catch (error) {
    message.textContent = error.message;
    byId("filter").setAttribute("aria-invalid", "true");
    return null;
  }
  const update = byId("by-update").value;
  const invariant = byId("by-invariant").value;
  const marked = byId("by-mark").value;
  return table.rows.map((_, row) => row).filter((row) => {
    if (update && field(row, "update") !== update) return false;
    if (invariant && String(field(row, "scale_invariant")) !== invariant) return false;
    if (marked === "any" && !field(row, "marked")) return false;
    if (marked === "none" && field(row, "marked")) return false;
    if (marked && marked !== "any" && marked !== "none" && field(row, "marked") !== marked) return false;
    return accepts(table.rows[row]);
  });
}

function refresh() {
  const rows = chosenRows();
  if (rows === null) return; // a half-typed condition leaves the table as it is
  state.order = sortedRows(rows);
  state.made = 0;
  byId("count").textContent = `${rows.length} of ${table.rows.length} channels`;
  byId("rows").replaceChildren();
  byId("nothing").hidden = rows.length > 0;
  drawHead();
  more();
}

function drawHead() {
  const cells = state.columns.map((name) => {
    const sorted = state.sort === name;
    const direction = sorted ? (state.descending ? "descending" : "ascending") : null;
    const text = data.describe[name].kind === "number" ? "number" : "";
    const button = make("button", { type: "button", title: data.describe[name].help, onclick: () => sortBy(name) }, name);
    return make("th", { scope: "col", "aria-sort": direction, class: text, "data-column": name }, button);
  });
  const pictures = make("th", { scope: "col" }, "FZ(I) FZ(B) FZ(O)");
  byId("head").replaceChildren(cells[0], pictures, ...cells.slice(1));
}

function sortBy(name) {
  // A first click on numbers shows the largest.
  if (state.sort === name) state.descending = !state.descending;
  else [state.sort, state.descending] = [name, data.describe[name].kind !== "text" && name !== "channel"];
  refresh();
  // The heads were made anew, so whoever is at the keyboard is put back where they were.
  byId("head").querySelector(`[data-column="${name}"] button`).focus();
}

function badge(name, value) {
  return make("span", { class: `badge ${value}` }, value);
}

// Whose FZ a picture is and what each tensor answers to it, for those who cannot see it.
function fzText(row, tensor) {
  const known = Object.keys(READS).filter((read) => field(row, `${read}_on_${tensor}`) !== null);
  const answers = known.map((read) => `${READS[read]} ${shown(field(row, `${read}_on_${tensor}`))}`);
  const name = `${TENSORS[tensor]} of ${data.block} channel ${field(row, "channel")}`;
  return answers.length ? `${name}; activations on it: ${answers.join(", ")}` : name;
}

function drawRow(row) {
  const channel = field(row, "channel");
  const cells = state.columns.map((name) => {
    const value = field(row, name);
    const number = data.describe[name].kind === "number";
    let inside = cited(value, table.name, row, name, isWhole(name));
    if (name === "channel") inside = make("a", { href: addressOf(data.page, channel) }, inside);
    else if (value && (name === "update" || name === "marked")) inside.replaceChildren(badge(name, value));
    const kind = number ? "number" : data.describe[name].kind === "text" ? "text" : "bool";
    return make("td", { class: `${kind} ${value === true ? "yes" : ""}`, "data-column": name }, inside);
  });
  const thumbs = Object.keys(TENSORS).map((tensor) =>
    picture(data.fz[tensor][channel], data.crop[tensor], data.side, fzText(row, tensor)));
  const pictures = make("td", { class: "thumbs" }, make("div", {}, ...thumbs));
  return make("tr", { tabindex: "-1", "data-channel": channel, onclick: (event) => { if (!event.target.closest("a")) openChannel(channel); } }, cells[0], pictures, ...cells.slice(1));
}

function more(until = state.made + CHUNK) {
  const rows = state.order.slice(state.made, until).map(drawRow);
  state.made += rows.length;
  byId("rows").append(...rows);
}

function openChannel(channel) {
  location.href = addressOf(data.page, channel);
}

function focusRow(step) {
  const rows = byId("rows").children;
  const now = [...rows].indexOf(document.activeElement.closest("#rows tr"));
  const next = now < 0 ? 0 : Math.min(state.order.length - 1, Math.max(0, now + step));
  if (next >= state.made) more(next + CHUNK);
  if (rows[next]) rows[next].focus();
}

function drawColumnPicker() {
  const boxes = table.columns.map((name) => {
    const box = make("input", { type: "checkbox", checked: state.columns.includes(name), onchange: () => {
      state.columns = table.columns.filter((other) => (other === name ? box.checked : state.columns.includes(other)) || other === "channel");
      state.columns = ["channel", ...state.columns.filter((other) => other !== "channel")];
      refresh();
    } });
    return make("label", { title: data.describe[name].help }, box, name);
  });
  byId("columns").replaceChildren(...boxes);
}

const nearEnd = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting) || state.made >= state.order.length) return;
  more();
  // Observed anew, it says so again should the end still be near.
  nearEnd.unobserve(byId("end"));
  nearEnd.observe(byId("end"));
}, { rootMargin: "800px" });

// Shows the table of a block, in whose page this is called.
function startList(found) {
  [data, table, details] = [found, found.channels, null];
  columnOf = new Map(table.columns.map((name, index) => [name, index]));
  Object.assign(state, { columns: [...DEFAULT], sort: "channel", descending: false });
  const controls = ["filter", "by-update", "by-invariant", "by-mark"];
  for (const id of controls) byId(id).addEventListener("input", refresh);
  byId("clear").addEventListener("click", () => {
    for (const id of controls) byId(id).value = "";
    refresh();
  });
  drawColumnPicker();
  refresh();
  nearEnd.disconnect();
  nearEnd.observe(byId("end"));
}
