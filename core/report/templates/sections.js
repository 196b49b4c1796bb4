// One channel: everything that the report knows of it, a section each.
let ownRows;
const parts = new Map();

// Curves, MEIs and patches, those of several hundred channels at once: in the page where all is one file, else in files
// beside it, so that the page opens without them. `then` is called when those of a channel are there.
function readDetails(channel, then) {
  const name = `details-${data.page}-${Math.floor(channel / data.at_once)}`;
  const ready = () => {
    takeDetails(parts.get(name));
    then();
  };
  if (byId(name)) keepDetails(name, byId(name).textContent);
  if (parts.has(name)) ready();
  else document.head.append(make("script", { src: `details/${name}.js`, onload: ready, onerror: () => then(`details/${name}.js is not beside this page`) }));
}

// Called by those files.
function keepDetails(name, text) {
  if (!parts.has(name)) parts.set(name, JSON.parse(text));
}

function takeDetails(found) {
  if (details === found) return;
  details = found;
  ownRows = Object.fromEntries(["tuning", "meis", "patches"].map((name) => {
    const rows = new Map();
    details[name].rows.forEach((values, row) => {
      if (!rows.has(values[0])) rows.set(values[0], []);
      rows.get(values[0]).push({ values, row: row + details[name].first });
    });
    return [name, rows];
  }));
}

function numberOf(row, name) {
  return cited(field(row, name), table.name, row, name, isWhole(name));
}

function section(title, ...children) {
  return make("section", {}, make("h3", {}, title), ...children);
}

// A table that may be wider than the screen, for the keyboard too.
function scrolled(name, inside) {
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, inside);
}

function captioned(image, ...caption) {
  return make("figure", {}, image, make("figcaption", {}, ...caption));
}

function picturesSection(row, channel) {
  const crop = (tensor) => (state.whole ? null : data.crop[tensor]);
  const fzs = Object.entries(TENSORS).map(([tensor, name]) =>
    captioned(picture(data.fz[tensor][channel], crop(tensor), data.side, fzText(row, tensor)),
      make("b", {}, name), make("span", {}, `${READS[tensor]}: `, numberOf(row, `${tensor}_on_${tensor}`))));
  const scaled = [["in", "S(FZ(I))", "B: ", "block_on_in_up"], ["block", "S⁻(FZ(B))", "I: ", "in_on_block_down"]].map(([tensor, name, read, column]) =>
    captioned(picture(data.scaled[tensor][channel], crop(tensor), data.side, `${name} of ${data.block} channel ${channel}; activation on it: ${read}${shown(field(row, column))}`),
      make("b", {}, name), make("span", {}, read, numberOf(row, column))));
  const toggle = make("button", { type: "button", id: "whole", "aria-pressed": String(state.whole), onclick: toggleWhole }, "whole images (w)");
  const size = data.crop.out ? `${data.crop.out[1] - data.crop.out[0]} of ${data.side} px` : "the whole image";
  return section("Feature visualizations",
    make("p", { class: "hint" }, state.whole ? "The whole images." : `What the centre neuron of out sees: ${size}.`, " ", toggle),
    make("div", { class: "pictures three" }, ...fzs), make("h4", {}, "Scaled, as the scale criteria ask"), make("div", { class: "pictures three" }, ...scaled));
}

function toggleWhole() {
  state.whole = !state.whole;
  show();
  byId("whole").focus();
}

function verdictSection(row) {
  const tick = (name) => {
    const value = field(row, name);
    const mark = value === null ? "–" : value ? "✓" : "✗";
    return make("td", { class: `tick ${value === true ? "yes" : value === false ? "no" : ""}` }, make("data", { value: exact(value), "data-cell": `${table.name}:${row}:${name}`, "aria-hidden": "true" }, mark), make("span", { class: "unseen" }, value === null ? "not known" : shown(value)));
  };
  const number = (name) => numberOf(row, name);
  const line = (text, fz, mei, ...numbers) => make("tr", {}, make("th", { scope: "row" }, text), tick(fz), tick(mei), make("td", {}, ...numbers));
  const rows = [
    line("(2) mixes: 1/1.5 < M < 1.5", "meets_mix", "mei_meets_mix", "M ", number("mix_ratio"), " · by MEI ", number("mei_mix_ratio")),
    line("(3) B(S(FZ(I))) > relu(B(FZ(I)))", "meets_block", "mei_meets_block", number("block_on_in_up"), " against ", number("block_on_in"), " · gain ", number("block_gain")),
    line("(4) I(S⁻(FZ(B))) > relu(I(FZ(B)))", "meets_input", "mei_meets_input", number("in_on_block_down"), " against ", number("in_on_block"), " · gain ", number("input_gain")),
    line("scale invariant: all three", "scale_invariant", "mei_scale_invariant", "scale metric ", number("scale_metric")),
    make("tr", {}, make("th", { scope: "row" }, "robust: by FZ and by MEI"), make("td", {}), tick("robust"), make("td", {}, number("mei_images"), " exciting MEIs of ", number("images"), " images")),
  ];
  const head = make("tr", {}, ...["criterion", "FZ", "MEI", "numbers"].map((text) => make("th", { scope: "col" }, text)));
  const tableElement = make("table", { class: "verdict" }, make("thead", {}, head), make("tbody", {}, ...rows));
  const stable = ["stable_update", "stable_scale_invariant"].filter((name) => field(row, name) !== null);
  const over = stable.length
    ? make("p", { class: "hint" }, "Over ", numberOf(row, "seeds"), " FZ seeds: share that says the same update ", numberOf(row, "stable_update"), ", share that says scale invariant ", numberOf(row, "stable_scale_invariant"), ".")
    : make("p", { class: "hint" }, "How stable this is over FZ seeds is not known: fewer than two are stored.");
  const undefinedHere = field(row, "not_applicable");
  const notes = undefinedHere ? [make("p", { class: "hint" }, `${undefinedHere}.`)] : [];
  return section("Verdict", ...notes, scrolled("Verdict", tableElement), over);
}

function matrixSection(row) {
  const names = Object.keys(TENSORS);
  const values = names.flatMap((read) => names.map((on) => field(row, `${read}_on_${on}`)));
  const largest = Math.max(...values.map((value) => Math.abs(value ?? 0)), 1e-12);
  const body = names.map((read) => make("tr", {}, make("th", { scope: "row" }, READS[read]), ...names.map((on) => {
    const value = field(row, `${read}_on_${on}`);
    const strength = Math.round((100 * Math.abs(value ?? 0)) / largest * 0.55);
    const colour = value < 0 ? "var(--overwrite)" : "var(--skip)";
    return make("td", { class: "number", style: `background:color-mix(in srgb, ${colour} ${strength}%, transparent)` }, numberOf(row, `${read}_on_${on}`));
  })));
  const head = make("tr", {}, make("td"), ...names.map((on) => make("th", { scope: "col" }, TENSORS[on])));
  return section("Activation matrix", make("p", { class: "hint" }, "The channel's centre activation in each tensor (rows) for each FZ (columns); O before any activation: I + B."), scrolled("Activation matrix", make("table", { class: "matrix" }, make("thead", {}, head), make("tbody", {}, ...body))));
}

function tuningSection(channel) {
  const tuning = details.tuning;
  if (tuning.missing) return section("Scale tuning", make("p", { class: "missing" }, tuning.missing));
  const place = new Map(tuning.columns.map((name, index) => [name, index]));
  const own = ownRows.tuning.get(channel) || [];
  if (!own.length) return section("Scale tuning", make("p", { class: "missing" }, "No curves of this channel are stored."));
  const first = tuning.columns.findIndex((name) => /^x[\d.]/.test(name));
  const scales = tuning.columns.slice(first).map((name) => Number(name.slice(1)));
  const plots = [];
  for (const source of ["FZ", "MEI"]) for (const on of ["in", "block"]) {
    const lines = own.filter(({ values }) => values[place.get("source")] === source && values[place.get("on")] === on);
    if (!lines.length) continue;
    const name = source === "FZ" ? TENSORS[on] : `MEIs of ${READS[on]}`;
    const legend = lines.map(({ values, row }) => make("li", { class: `line-${values[place.get("read")]}` }, `${READS[values[place.get("read")]]}: invariance `, cited(values[place.get("invariance")], tuning.name, row, "invariance"), ", half-width ", cited(values[place.get("half_width")], tuning.name, row, "half_width")));
    plots.push(make("figure", { class: "curve" }, curves(scales, lines.map(({ values }) => ({ read: values[place.get("read")], values: values.slice(first) })), `Activation over scale, on ${name}`), make("figcaption", {}, make("b", {}, `on ${name}`), make("ul", {}, ...legend))));
  }
  return section("Scale tuning", make("p", { class: "hint" }, `Centre activation while the image is shown smaller and larger, resized ${own[0].values[place.get("antialias")] ? "with" : "without"} antialiasing. Half-widths are in octaves.`), make("div", { class: "curves" }, ...plots));
}

// What curves show, for those who cannot see them: each one's ends and its highest point.
function curvesText(scales, lines) {
  return lines.map(({ read, values }) => {
    const known = values.map((value, index) => ({ value, scale: scales[index] })).filter(({ value }) => value !== null);
    if (!known.length) return `${READS[read]}: no values.`;
    const [first, last, top] = [known[0], known.at(-1), known.reduce((a, b) => (b.value > a.value ? b : a))];
    const at = ({ value, scale }) => `${shown(value)} at ${sizeText(scale)} times the size`;
    return `${READS[read]}: highest, ${at(top)}; ${at(first)}, ${at(last)}.`;
  }).join(" ");
}

function sizeText(scale) {
  return scale.toFixed(2).replace(/\.?0+$/, "");
}

let drawnCurves = 0;
function curves(scales, lines, label) {
  const [width, height, left, right, top, bottom] = [320, 180, 40, 8, 8, 26];
  const svg = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...values), Math.max(1e-6, ...values)];
  const x = (scale) => left + ((Math.log2(scale) - Math.log2(scales[0])) / (Math.log2(scales.at(-1)) - Math.log2(scales[0]))) * (width - left - right);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  const parts = [];
  for (const scale of [0.5, 0.71, 1, 1.41, 2]) {
    parts.push(svg("line", { class: "grid", x1: x(scale), x2: x(scale), y1: top, y2: height - bottom }));
    parts.push(svg("text", { x: x(scale), y: height - bottom + 14, "text-anchor": "middle" }, `${scale}`));
  }
  for (const value of high + low > 0 && -low < (high - low) / 8 ? [0, high] : [low, 0, high]) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: left - 4, y: y(value) + 4, "text-anchor": "end" }, Math.abs(value) >= 10 ? value.toFixed(0) : value.toFixed(1)));
  }
  for (const line of lines) {
    const points = line.values.map((value, index) => (value === null ? null : `${x(scales[index]).toFixed(1)},${y(value).toFixed(1)}`)).filter(Boolean);
    parts.push(svg("polyline", { class: `line-${line.read}`, points: points.join(" ") }));
  }
  const [title, text] = [`curve-${(drawnCurves += 1)}`, `curve-${drawnCurves}-text`];
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": title, "aria-describedby": text },
    svg("title", { id: title }, label), svg("desc", { id: text }, curvesText(scales, lines)), ...parts);
}

function meisSection(channel) {
  const meis = details.meis;
  if (meis.missing) return section("Images that excite it (MEIs)", make("p", { class: "missing" }, meis.missing));
  const place = new Map(meis.columns.map((name, index) => [name, index]));
  const own = ownRows.meis.get(channel) || [];
  const grids = Object.keys(TENSORS).map((tensor) => ["top", "bottom"].map((end) => {
    const most = end === "top" ? "most" : "least";
    const found = own.filter(({ values }) => values[place.get("tensor")] === tensor && values[place.get("end")] === end);
    const pictures = found.map(({ values, row }) => {
      const [path, label, file] = details.images[values[place.get("row")]];
      const strength = shown(values[place.get("activation")]);
      const alt = `${values[place.get("rank")]}. image that excites ${READS[tensor]} ${most}: ${path}${label ? `, class ${label}` : ""}; activation ${strength}`;
      const image = picture(file, state.whole ? null : data.crop[tensor], data.side, alt);
      image.title = `${path}\nactivation ${exact(values[place.get("activation")])}`;
      return captioned(image, cited(values[place.get("activation")], meis.name, row, "activation"));
    });
    const grid = make("div", { class: "nine" }, ...pictures);
    return end === "top" ? [make("h4", {}, `${READS[tensor]}, ${most}`), grid] : [make("details", {}, make("summary", {}, `${READS[tensor]}, ${most}`), grid)];
  }).flat()).map((children) => make("div", {}, ...children));
  return section("Images that excite it (MEIs)", make("div", { class: "meis" }, ...grids));
}

function patchesSection(row, channel) {
  const patches = details.patches;
  const title = "Best patches of photographs";
  const place = new Map(patches.columns.map((name, index) => [name, index]));
  const first = patches.columns.findIndex((name) => /^x[\d.]/.test(name));
  const scales = patches.columns.slice(first).map((name) => Number(name.slice(1)));
  const own = ownRows.patches.get(channel) || [];
  const shownSizes = data.sizes.map(sizeText);
  const columns = Object.keys(TENSORS).map((on) => {
    const file = data.patch_pictures[on][channel];
    const lines = own.filter(({ values }) => values[place.get("on")] === on);
    const alt = `Best patches of ${READS[on]} of channel ${channel}, a row each, at ${shownSizes.join(", ")} times their size`;
    const strip = file ? make("img", { class: "patches", src: sourceOf(file), alt }) : make("p", { class: "missing" }, `No photograph excites ${READS[on]}.`);
    const images = lines.length ? [", n ", cited(lines[0].values[place.get("images")], patches.name, lines[0].row, "images", true), " images"] : [];
    const curve = lines.length ? curves(scales, lines.map(({ values }) => ({ read: values[place.get("read")], values: values.slice(first) })), `I, B and O over scale, on the patches of ${READS[on]}`) : null;
    const legend = make("ul", {}, ...lines.map(({ values }) => make("li", { class: `line-${values[place.get("read")]}` }, READS[values[place.get("read")]])));
    return make("figure", { class: "curve" }, strip, make("figcaption", {}, make("b", {}, `patches of ${READS[on]}`), ...images), curve, lines.length ? legend : null);
  });
  if (patches.missing) return section(title, make("p", { class: "missing" }, patches.missing), make("div", { class: "curves" }, ...columns));
  const number = (name) => numberOf(row, name);
  const line = (text, name, low, pairs, p, mates) => make("tr", {}, make("th", { scope: "row" }, text), ...[name, low, pairs, p, mates].map((column) => make("td", { class: "number" }, number(column))));
  const head = make("tr", {}, make("td"), ...["deviations", "95 % from", "share of pairs it exceeds", "p against mates", "mates"].map((text) => make("th", { scope: "col" }, text)));
  const preferences = make("table", {}, make("thead", {}, head), make("tbody", {},
    line("B prefers I's patches larger", "photo_block_larger", "photo_block_low", "photo_pairs_block", "photo_p_block", "photo_mates_block"),
    line("I prefers B's patches smaller", "photo_in_smaller", "photo_in_low", "photo_pairs_in", "photo_p_in", "photo_mates_in")));
  const verdict = make("p", {}, "Scale invariant in photographs: ", number("photo_invariant"), "; beyond blur: ", number("photo_beyond_blur"), "; n ", number("photo_images"), " images. Peaks: B at ", number("photo_peak_block"), " octaves on I's patches, I at ", number("photo_peak_in"), " on B's. Half-widths: I ", number("photo_width_in"), ", O ", number("photo_width_out"), " octaves.");
  return section(title, make("p", { class: "hint" }, `The best patches anywhere in the photographs, one an image, at ${shownSizes.join(", ")} times their size. Pairs are the other channels on the same patches; mates those of them that answer as strongly.`), verdict, scrolled("Preferences in photographs", preferences), make("div", { class: "curves" }, ...columns));
}

function stepsSection(channel) {
  if (!data.steps.length) return null;
  const figures = data.steps.map((step) => {
    const row = step.rows.findIndex((values) => values[0] === channel);
    const [, ratio, update, scale] = row < 0 ? [] : step.rows[row];
    const here = step.block === data.block;
    const name = here ? make("b", {}, step.block) : make("a", { href: addressOf(step.page, channel) }, step.block);
    const image = picture(step.fz[channel], state.whole ? null : step.crop, data.side, `FZ(B) of ${step.block} channel ${channel}; M ${shown(ratio)}, SM ${shown(scale)}`);
    return captioned(image, name,
      make("span", {}, "M ", cited(ratio, step.table, row, "mix_ratio"), " ", update ? badge("update", update) : null),
      make("span", {}, "SM ", cited(scale, step.table, row, "scale_metric")),
      make("span", {}, step.field === null ? "" : `field ${step.field} px`));
  });
  return section("Steps", make("p", { class: "hint" }, "FZ(B) of this channel at every step of its module, whose weights run several times."), make("div", { class: "pictures steps-of" }, ...figures));
}

function factsSection(row) {
  const names = ["bn_weight", "conv_weight", "effective_gain", "rho", "late_rise", "steps", "fz_seed", "capture", "flags", "status"];
  const list = names.map((name) => make("div", {}, make("dt", {}, name), make("dd", {}, numberOf(row, name), make("small", {}, data.describe[name].help))));
  return section("Weights and optimisation", make("dl", { class: "facts wide" }, ...list));
}

function judgementSection(row) {
  const parts = ["marked", "tags", "note"].flatMap((name) => [make("dt", {}, name), make("dd", { class: name }, numberOf(row, name))]);
  return section("Your judgement", make("dl", { class: "facts" }, ...parts));
}

