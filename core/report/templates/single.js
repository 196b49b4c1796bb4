// All pages of a report in one file: the part of the address after # says which is shown, #block-2.1/108 a channel too.
const homeTitle = document.title;
let shownPage = "index";

function pageIn(hash) {
  const name = hash.slice(1).split("/")[0] || "index";
  return name === "index" || byId(`page-${name}`) ? name : null;
}

// Puts a page in the place of the one that is shown. An address that names none leaves things as they are.
function openPage(name) {
  const template = byId(`page-${name}`);
  shownPage = name;
  data = null;
  byId("home").hidden = template !== null;
  byId("view").hidden = template === null;
  byId("view").replaceChildren(...(template ? [template.content.cloneNode(true)] : []));
  document.title = template ? template.dataset.title : homeTitle;
  for (const found of byId("view").querySelectorAll("table.sortable")) makeSortable(found);
  const listed = byId(`data-${name}`);
  if (listed) startList(JSON.parse(listed.textContent));
  markPage();
}

function markPage() {
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.dataset.page === shownPage) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

window.addEventListener("hashchange", (event) => {
  const name = pageIn(location.hash);
  if (name === null) return;
  const before = new URL(event.oldURL).hash;
  if (name === shownPage) {
    if (data) navigated(before);
    return;
  }
  openPage(name);
  if (data) show();
  scrollTo(0, 0);
  (byId("channel-title") ?? byId("content")).focus({ preventScroll: true });
});

// Tables are saved from here as the files they are in a folder.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-file]");
  if (!link) return;
  event.preventDefault();
  const text = JSON.parse(byId("table-files").textContent)[link.dataset.file];
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  make("a", { href: address, download: link.dataset.file.split("/").at(-1) }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
});

for (const found of document.querySelectorAll("#home table.sortable")) makeSortable(found);
markPage();
const first = pageIn(location.hash);
if (first !== null && first !== "index") {
  openPage(first);
  if (data) show();
}
