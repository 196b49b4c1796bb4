// Run as the body of a function in the page that is audited: returns its complaints.
const complaints = [];
const complain = (rule, element, more = "") => complaints.push(
  `${rule}: ${element.outerHTML.replace(/data:[^"]{40,}/g, "data:…").slice(0, 140)} ${more}`.trim());
const drawn = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
const all = (selector) => [...document.querySelectorAll(selector)].filter(drawn);
const byIds = (element, name) => (element.getAttribute(name) || "").split(" ").filter(Boolean)
  .map((id) => document.getElementById(id)?.textContent.trim()).join(" ");
const named = (element) => byIds(element, "aria-labelledby") || element.getAttribute("aria-label") ||
  [...(element.labels || [])].map((label) => label.textContent.trim()).join(" ");

for (const image of document.images) if (!(image.alt || "").trim()) complain("picture without a text", image);
for (const image of all("svg, [role=img], canvas")) if (!named(image)) complain("picture without a name", image);
for (const image of all("svg")) if (!byIds(image, "aria-describedby")) complain("drawing that is not described", image);

const heads = all("h1, h2, h3, h4, h5, h6").map((head) => [Number(head.tagName[1]), head]);
if (heads.filter(([level]) => level === 1).length !== 1) complaints.push("not one h1");
heads.forEach(([level, head], place) => {
  if (level > (place ? heads[place - 1][0] : 0) + 1) complain("level of headings left out", head);
});

for (const control of all("input, select, textarea")) if (!named(control)) complain("control without a label", control);
for (const control of all("a[href], button, summary"))
  if (!(control.textContent.trim() || control.getAttribute("aria-label") || control.querySelector("img[alt]"))) complain("nothing to read out", control);
for (const element of document.querySelectorAll("[aria-label]"))
  if (["DIV", "SPAN", "DATA", "P"].includes(element.tagName) && !element.getAttribute("role")) complain("a name on what has no role", element);
for (const head of all("th")) if (!head.scope) complain("head without a scope", head);
for (const head of all("th")) if (!head.textContent.trim()) complain("empty head", head);
for (const head of document.querySelectorAll("[aria-sort]"))
  if (!["ascending", "descending"].includes(head.getAttribute("aria-sort"))) complain("no order", head);
for (const name of ["aria-labelledby", "aria-describedby", "aria-controls"])
  for (const element of document.querySelectorAll(`[${name}]`))
    for (const id of element.getAttribute(name).split(" ")) if (!document.getElementById(id)) complain(`${name} of nothing`, element);
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
for (const id of new Set(ids)) if (ids.filter((other) => other === id).length > 1) complaints.push(`several of id ${id}`);
for (const page of [document.documentElement]) if (!page.lang) complaints.push("no language");
if (!document.title.trim()) complaints.push("no title");
for (const box of all(".scroll"))
  if (box.scrollWidth > box.clientWidth + 1 && box.tabIndex < 0 && !box.querySelector("a, button")) complain("scrolls by mouse alone", box);

// Contrast of every text with what is behind it: 4.5 to 1, of large text 3 to 1.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const pixel = (colours) => {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
  return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const luminance = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
const ground = (element) => {
  const found = [];
  for (let at = element; at; at = at.parentElement) found.unshift(getComputedStyle(at).backgroundColor);
  return found;
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = texts.nextNode(); text; text = texts.nextNode()) {
  const element = text.parentElement;
  if (!text.data.trim() || !drawn(element) || element.closest("script, style, template, noscript, title, desc, .unseen, option")) continue;
  const style = getComputedStyle(element);
  const behind = ground(element);
  const colour = element.closest("svg") ? style.fill : style.color;
  const [a, b] = [luminance(pixel([...behind, colour])), luminance(pixel(behind))].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < (large ? 3 : 4.5)) complain("too little contrast", element, contrast.toFixed(2));
}
return [...new Set(complaints)];
