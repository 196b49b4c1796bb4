// Paper has no scrolling and nothing to click: what is folded is opened, and all rows are made, before a page is printed.
let unfolded = [];

function unfold() {
  const folded = [...document.querySelectorAll("details:not([open]):not(.picker):not(.words)")];
  for (const part of folded) part.open = true;
  unfolded.push(...folded);
  if (typeof data !== "undefined" && data) more(state.order.length);
}

window.addEventListener("beforeprint", unfold);
window.addEventListener("afterprint", () => {
  for (const part of unfolded) part.open = false;
  unfolded = [];
});

// Browsers do not wait for pictures that are new to the page, so this does.
async function printPage() {
  unfold();
  const loading = [...document.images].filter((image) => !image.complete);
  await Promise.all(loading.map((image) => new Promise((done) => {
    image.addEventListener("load", done);
    image.addEventListener("error", done);
  })));
  window.print();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "p" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
  event.preventDefault();
  printPage();
});
