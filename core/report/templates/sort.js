// Heads of the tables that a page has from the start sort their rows: empty fields last, of equals the first first.
function makeSortable(sortable) {
  const body = sortable.tBodies[0];
  if (body.rows.length < 2) return;
  const heads = [...sortable.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const numeric = head.classList.contains("number");
    const key = (row) => {
      const found = row.cells[place].querySelector("data");
      const text = found ? found.value : row.cells[place].textContent.trim();
      if (text === "") return null;
      return numeric ? Number(text) : text;
    };
    const sort = () => {
      // As in the table of channels, a first click on numbers shows the largest.
      const now = head.getAttribute("aria-sort");
      const descending = now ? now === "ascending" : numeric;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...body.rows].map((row, before) => ({ row, before, value: key(row) }));
      rows.sort((a, b) => {
        if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null) || a.before - b.before;
        const difference = numeric ? a.value - b.value : a.value.localeCompare(b.value, "en", { numeric: true });
        return (descending ? -difference : difference) || a.before - b.before;
      });
      body.append(...rows.map(({ row }) => row));
    };
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", sort);
    head.append(button);
  });
}
