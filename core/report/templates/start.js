// The page of one block, in a file of its own.
startList(JSON.parse(byId("data").textContent));
window.addEventListener("hashchange", (event) => {
  if (location.hash !== "#content") navigated(new URL(event.oldURL).hash);
});
show();
