// The page of a block with one of its channels open, or its table; and the keys of both.

// Where to go from a channel: through the table's order, by number, and along the stream.
function neighbours(row, channel) {
  const link = (text, target, id) => (target === null ? make("span", { class: "off" }, text) : make("a", { href: addressOf(data.page, target), id }, text));
  const at = state.order.indexOf(row);
  const ordered = (by) => (at < 0 || state.order[at + by] === undefined ? null : field(state.order[at + by], "channel"));
  const numbered = (by) => (table.rows[row + by] === undefined ? null : field(row + by, "channel"));
  const number = (by, before, after) => {
    const target = numbered(by);
    return link(target === null ? (by < 0 ? "first channel" : "last channel") : `${before}channel ${target}${after}`, target, by < 0 ? "lower" : "higher");
  };
  const position = at < 0 ? "not in the filtered table" : `${at + 1} of ${state.order.length}`;
  const order = `in order of ${state.sort}${state.descending ? ", largest first" : ""}`;
  const lines = [
    [make("a", { href: addressOf(data.page), id: "back" }, `← all channels of ${data.block} (Esc)`)],
    [make("span", {}, order), link("previous (k)", ordered(-1), "previous"), make("span", {}, position), link("next (j)", ordered(1), "next")],
    [make("span", {}, "by number"), number(-1, "← ", ""), number(1, "", " →")],
  ];
  if (data.stream.length > 1) lines.push([make("span", {}, "same channel of the stream"), ...data.stream.map((block) => streamLink(block, channel))]);
  return make("nav", { "aria-label": "channels" }, ...lines.map((parts) => make("div", { class: "steps" }, ...parts)));
}

// A block that carries a channel, with what it does to it.
function streamLink(block, channel) {
  if (block.block === data.block) return make("b", { "aria-current": "true" }, block.block);
  if (!block.page) return make("span", { class: "off", title: "not in this report" }, block.block);
  const row = block.rows.findIndex((values) => values[0] === channel);
  if (row < 0) return make("a", { href: addressOf(block.page), title: "this channel of it is not in this report" }, block.block);
  const [, ratio, update] = block.rows[row];
  return make("span", {}, make("a", { href: addressOf(block.page, channel) }, block.block), " M ", cited(ratio, block.table, row, "mix_ratio"), update ? [" ", badge("update", update)] : null);
}

function show() {
  const channel = channelIn(location.hash);
  const row = channel === null ? -1 : table.rows.findIndex((values) => values[columnOf.get("channel")] === channel);
  const opened = row >= 0;
  byId("list").hidden = opened;
  byId("channel").hidden = !opened;
  const title = byId("list").dataset.title;
  document.title = opened ? `${data.block} channel ${channel} · ${title}` : title;
  if (!opened) return;
  const update = field(row, "update");
  const heading = make("h2", { tabindex: "-1", id: "channel-title" }, `${data.block} channel ${channel} `, update ? badge("update", update) : null, field(row, "scale_invariant") ? [" ", badge("", "invariant")] : null);
  byId("channel").replaceChildren(
    neighbours(row, channel),
    heading,
    field(row, "status") === "ok" ? "" : make("p", { class: "missing" }, field(row, "status")),
    data.unrectified ? make("p", { class: "hint", id: "unrectified" }, `In ${data.block} ${data.unrectified}.`) : "",
    stepsSection(channel) ?? "",
    make("div", { class: "channel" },
      make("div", {}, picturesSection(row, channel), matrixSection(row), judgementSection(row)),
      make("div", {}, verdictSection(row), make("section", { id: "channel-tuning" }))),
    make("section", { id: "channel-patches" }),
    make("section", { id: "channel-meis" }),
    factsSection(row),
  );
  readDetails(channel, (problem) => {
    // Another channel may have been opened meanwhile.
    if (channelIn(location.hash) !== channel || !byId("channel-tuning")) return;
    if (problem) {
      byId("channel-tuning").replaceWith(make("p", { class: "missing" }, problem));
      return;
    }
    byId("channel-tuning").replaceWith(tuningSection(channel));
    byId("channel-patches").replaceWith(patchesSection(row, channel));
    byId("channel-meis").replaceWith(meisSection(channel));
  });
}

// After the address has changed: `before` is the part after # that it had.
let listScroll = 0;
function navigated(before) {
  const [from, to] = [channelIn(before), channelIn(location.hash)];
  if (to !== null && from === null) listScroll = scrollY;
  show();
  if (to !== null) {
    scrollTo(0, 0);
    byId("channel-title")?.focus({ preventScroll: true });
  } else {
    scrollTo(0, listScroll);
    byId("rows").querySelector(`[data-channel="${from}"]`)?.focus({ preventScroll: true });
  }
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (!data || event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const opened = !byId("channel").hidden;
  const keys = opened
    ? { j: "next", ArrowRight: "next", k: "previous", ArrowLeft: "previous", Escape: "back", h: "back" }
    : {};
  if (opened && event.key in keys) {
    byId(keys[event.key])?.click();
    event.preventDefault();
  } else if (opened && event.key === "w") toggleWhole();
  else if (!opened && (event.key === "j" || event.key === "ArrowDown")) { focusRow(1); event.preventDefault(); }
  else if (!opened && (event.key === "k" || event.key === "ArrowUp")) { focusRow(-1); event.preventDefault(); }
  else if (!opened && event.key === "Enter" && document.activeElement.matches("#rows tr")) openChannel(document.activeElement.dataset.channel);
  else if (!opened && event.key === "/") { byId("filter").focus(); event.preventDefault(); }
});
