// The table of networks: figures, then a column for the formats of each layer. Sorted by a click, filtered by limits; only
// the rows in sight are made.
const Table = (() => {
  const box = $("table"), rowHeight = 27;
  const names = DATA.metrics.map((own) => own.name).filter((name) => T.metrics[name].some((value) => value !== null));
  const first = [...new Set([...objectives, ...constraints.map((own) => own.metric)])].filter((own) => names.includes(own));
  const figures = ["trial", ...first, ...names.filter((own) => !first.includes(own))];
  const texts = textColumns();
  /** By column, the text of a figure: with as many decimals as the others of its column. */
  const textOf = Object.fromEntries(figures.slice(1).map((name) => [name, alike(T.metrics[name].filter((_, place, all) => place % Math.ceil(all.length / 500) === 0))]));
  let sortBy = objectives[0], isDown = direction[objectives[0]] !== "minimize", order = [];
  const body = make("tbody"), headings = make("tr"), limits = make("tr", { class: "limits" });
  const table = make("table", { "aria-label": "networks" }, make("thead", {}, headings, limits), body);
  box.append(table);
  scrollable(box, "networks");

  for (const name of figures) {
    headings.append(make("th", { scope: "col", "data-column": name, "aria-sort": "none", title: "sort" }, make("button", { onclick: () => sort(name) }, name === "trial" ? "trial" : titled(name))));
    limits.append(make("th", {}, names.includes(name) ? [limit(name, 0), " ", limit(name, 1)] : null));
  }
  for (const { title } of texts) {
    headings.append(make("th", { class: "text", scope: "col" }, title));
    limits.append(make("th"));
  }
  /** The columns of text: the formats of each layer that any network quantises, and notes where there are any. */
  function textColumns() {
    const written = DATA.configs.parts ?? [], rows = [...DATA.front, ...Object.values(DATA.trained)];
    const chosen = DATA.configs.nodes ? written.filter((part) => part.transforms.some(Boolean) || !part.configs.every(isFloat)).flatMap((part) => part.nodes) : keys.map((own) => own.node);
    const nodes = new Set([...chosen, ...rows.flatMap((row) => Object.keys(row.texts ?? {}))]), known = DATA.layers.map((own) => own.name);
    const found = [...known.filter((node) => nodes.has(node)), ...[...nodes].filter((node) => !known.includes(node))]
      .map((node) => ({ title: node, text: ({ texts }) => texts[node] ?? "float32" }));
    const hasNotes = written.some((part) => part.configs.some((config) => config.batch_norm === "measured")) || rows.some((row) => row.notes?.length);
    return hasNotes ? [...found, { title: "notes", text: ({ notes }) => notes.join("; ") }] : found;
  }
  function limit(name, side) {
    const input = make("input", { type: "number", step: "any", "aria-label": `${side ? "greatest" : "least"} ${name}`, placeholder: side ? "max" : "min", "data-limit": `${name}:${side}` });
    input.addEventListener("change", () => {
      const ends = [0, 1].map((own) => box.querySelector(`[data-limit="${CSS.escape(name)}:${own}"]`).value);
      brush({ [name]: ends[0] === "" && ends[1] === "" ? null : [ends[0] === "" ? -Infinity : Number(ends[0]), ends[1] === "" ? Infinity : Number(ends[1])] });
    });
    return input;
  }
  function sort(name) {
    isDown = sortBy === name ? !isDown : name !== "trial" && direction[name] !== "minimize";
    sortBy = name;
    arrange();
  }
  function arrange() {
    const values = sortBy === "trial" ? T.number : T.metrics[sortBy];
    order = [...visible].sort((a, b) => {
      const first = values[a], second = values[b];
      if (first === null || second === null) return (first === null) - (second === null);
      return (isDown ? second - first : first - second) || T.number[a] - T.number[b];
    });
    for (const own of headings.children) own.setAttribute("aria-sort", own.dataset.column === sortBy ? (isDown ? "descending" : "ascending") : "none");
    draw();
  }
  let isPrinting = false;
  /** The rows in sight; on paper those of the front and the selected one. */
  function draw() {
    if (isPrinting) {
      const told = order.filter((place) => frontOf.has(T.name[place]) || place === state.selected);
      const left = order.length - told.length, note = `${left.toLocaleString("en-US")} more networks, on the page itself`;
      body.replaceChildren(...told.map(row), ...(left ? [make("tr", {}, make("td", { class: "text", colspan: figures.length + texts.length }, note))] : []));
      return;
    }
    const start = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 8), last = Math.min(order.length, start + Math.ceil(box.clientHeight / rowHeight) + 20);
    const rows = [];
    if (start) rows.push(make("tr", { style: `height:${start * rowHeight}px` }));
    for (const place of order.slice(start, last)) rows.push(row(place));
    if (last < order.length) rows.push(make("tr", { style: `height:${(order.length - last) * rowHeight}px` }));
    body.replaceChildren(...rows);
  }
  function row(place) {
    const front = frontOf.get(T.name[place]);
    const cells = [make("td", {}, T.name[place], front ? [" ", make("span", { class: "badge front" }, front.within ? "front" : "nearest")] : T.state[place] === 1 ? [" ", make("span", { class: "badge" }, "stopped early")] : T.state[place] === 2 ? [" ", make("span", { class: "badge" }, "failed")] : null)];
    for (const name of figures.slice(1)) cells.push(make("td", {}, textOf[name](T.metrics[name][place])));
    const failed = T.failed[T.number[place]], told = textsOf(place);
    if (failed) cells.push(make("td", { class: "text", title: failed, colspan: Math.max(1, texts.length) }, failed));
    else for (const own of texts) { const text = own.text(told); cells.push(make("td", { class: "text", title: text }, text)); }
    return make("tr", { "aria-selected": String(place === state.selected), "data-trial": T.name[place], onclick: () => select(place) }, cells);
  }
  function reveal() {
    const at = order.indexOf(state.selected);
    if (at >= 0 && !box.matches(":hover")) {
      const from = at * rowHeight;
      if (from < box.scrollTop || from > box.scrollTop + box.clientHeight - 90) box.scrollTop = Math.max(0, from - box.clientHeight / 3);
    }
    draw();
  }
  box.addEventListener("scroll", draw, { passive: true });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target !== box) return;
    event.preventDefault();
    const now = order.indexOf(state.selected);
    select(order[Math.max(0, Math.min(order.length - 1, now + step))]);
  });
  function showLimits() {
    for (const name of names) for (const side of [0, 1]) {
      const input = box.querySelector(`[data-limit="${CSS.escape(name)}:${side}"]`), own = state.brushes[name]?.[side];
      if (input !== document.activeElement) input.value = own === undefined || !Number.isFinite(own) ? "" : Number(own.toPrecision(5));
    }
  }
  for (const [event, now] of [["beforeprint", true], ["afterprint", false]]) addEventListener(event, () => { isPrinting = now; draw(); });
  when("filter", () => { arrange(); showLimits(); });
  when("selection", reveal);
  arrange();
  return { order: () => order };
})();
