// The page of a comparison: curves with bands, fronts, table; strategies can be hidden, and one of them stands out.
(() => {
  const hidden = new Set();
  const chosen = () => DATA.strategies.filter((own) => !hidden.has(own.name));
  const styleOf = (own) => ({ name: own.name, colour: onCard(own.colour), width: own.width, dashes: own.dashes });

  document.title = `${DATA.name}: ${DATA.title}`;
  $("title").textContent = DATA.title;
  $("subtitle").textContent = DATA.name;
  $("verdict").replaceChildren(...DATA.verdict.map((own) => make("li", {}, own)));
  $("facts").replaceChildren(...DATA.facts.map((own) => make("li", {}, own)));
  $("origin").replaceChildren(...DATA.provenance.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  $("table-legend").textContent = DATA.legend;

  /** Lets a strategy stand out in all pictures; null: none. */
  function light(name) {
    for (const own of document.querySelectorAll("[data-series]")) own.classList.toggle("dim", name !== null && own.dataset.series !== name);
    for (const own of document.querySelectorAll("g[data-series]")) own.classList.toggle("lit", own.dataset.series === name);
  }
  function table() {
    const percent = (value) => (value === null ? "–" : `${(value < 1 ? Math.min(99.9, 100 * value) : 100 * value).toFixed(1)} %`);
    const head = make("tr", {}, make("th", { class: "text" }, "strategy"), DATA.targets.map((own) => make("th", {}, `to ${Math.round(own * 100)} %`)), make("th", {}, `at the end${DATA.strategies.some((own) => own.runs > 1) ? " [10-90]" : ""}`), make("th", {}, "repeats"), make("th", {}, "ms a trial"));
    const rows = DATA.strategies.map((own) => {
      const toggle = () => { if (hidden.has(own.name)) hidden.delete(own.name); else hidden.add(own.name); draw(); };
      const stands = { onfocus: () => light(hidden.has(own.name) ? null : own.name), onblur: () => light(null) };
      return make("tr", { "data-strategy": own.name, onpointerenter: stands.onfocus, onpointerleave: stands.onblur },
        make("td", { class: "text" }, make("button", { onclick: toggle, ...stands }, sample(own), own.name)),
        own.to.map(([low, median, high], place) => make("td", { title: median === null ? "not reached" : `${shown(low)} to ${high === null ? "more" : shown(high)}` }, own.reached[place])),
        make("td", {}, `${percent(own.at_end[1])}${own.runs > 1 ? ` [${percent(own.at_end[0])}, ${percent(own.at_end[2])}]` : ""}`), make("td", {}, shown(own.repeats)), make("td", {}, shown(own.seconds === null ? null : own.seconds * 1000)));
    });
    $("strategies").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, rows)));
  }
  /** The line of a strategy, as the pictures draw it. */
  function sample(own) {
    const { colour: stroke, width, dashes } = styleOf(own);
    return make("svg", { class: "sample", viewBox: "0 0 26 8", "aria-hidden": "true" }, make("line", { x1: 0, x2: 26, y1: 4, y2: 4, stroke, "stroke-width": width, "stroke-dasharray": dashes || null }));
  }
  /** Says in the table which strategies are hidden; the buttons stay, and with them the focus. */
  function tellHidden() {
    for (const row of $("strategies").querySelectorAll("tbody tr")) {
      const isHidden = hidden.has(row.dataset.strategy);
      row.classList.toggle("off", isHidden);
      row.querySelector("button").setAttribute("aria-pressed", String(!isHidden));
    }
    $("all").hidden = !hidden.size;
  }
  function curves() {
    const box = $("curves"), hasBands = chosen().length <= DATA.most_bands;
    box.replaceChildren();
    box.classList.toggle("bands", hasBands);
    const chart = (title, pick, xName, yName, marks = {}) => {
      const found = make("section", {}, make("h2", {}, title));
      box.append(found);
      const series = chosen().map((own) => ({ ...pick(own), ...styleOf(own), isStep: true })).filter((own) => own.x.length);
      if (series.length) lineChart(found, series, xName, yName, { isLog: DATA.is_log, near: light, hasNames: true, ...marks });
      return found;
    };
    const share = DATA.share[0].toUpperCase() + DATA.share.slice(1), range = [DATA.lowest, 1 + 0.03 * (1 - DATA.lowest)];
    const first = chart(`${share} by evaluation`, (own) => own.curve, "evaluations", `share${DATA.lowest ? ` (from ${shown(DATA.lowest)})` : ""}`, { range, height: 380 });
    first.classList.add("wide");
    if (DATA.most_bands) first.append(make("p", { class: "soft" }, `Lines: median over the runs. Bands: 10-90 %${hasBands ? "" : `, of the strategy that is pointed at, or of all where at most ${DATA.most_bands} are shown`}.`));
    for (const [label, most] of Object.entries(DATA.highest_regret)) chart(`Regret: ${label.replace("<=", "≤").replace(">=", "≥")}`, (own) => own.regret[label], "evaluations", "regret", { range: [-0.02 * (most || 1), 1.05 * (most || 1)] });
    chart(`${share} by trial, repeats among them`, (own) => own.by_trial, "trials", "share", { range });
  }
  /** A panel for each strategy, so that no front covers another: its front before the points of the space and the exact front. */
  function fronts() {
    const box = $("fronts"), [x, y] = DATA.pairs[Number($("pair").value) || 0] ?? [], shownOnes = chosen();
    box.replaceChildren();
    if (!x || !shownOnes.length) return;
    const columns = Math.max(1, Math.min(shownOnes.length, 4, Math.floor(roomIn(box, 280, 1400) / 150)));
    const wide = (roomIn(box, 280, 1400) - 54) / columns, high = Math.max(150, Math.min(300, wide * 0.75));
    const rows = Math.ceil(shownOnes.length / columns), width = 54 + wide * columns, height = 24 + (high + 24) * rows + 24;
    const near = (name) => [DATA.front, DATA.uniform, ...DATA.strategies.map((own) => own.front)].flatMap((own) => own[name] ?? []);
    const [[x0, x1], [y0, y1]] = [extent(near(x)), extent(near(y))];
    const sx = scale(x0, x1, 0, wide - 14), sy = scale(y0, y1, high, 0);
    const inside = make("clipPath", { id: "panel" }, make("rect", { x: -4, y: -4, width: wide - 6, height: high + 8 }));
    const at = (a, b) => `${sx(a).toFixed(1)},${sy(b).toFixed(1)}`;
    const points = (table) => (table[x] ?? []).map((own, place) => [own, table[y][place]]).filter(([a, b]) => a !== null && b !== null);
    const seen = points(DATA.cloud).filter(([a, b]) => a >= x0 && a <= x1 && b >= y0 && b <= y1);
    const back = make("g", { id: "panel-back", "clip-path": "url(#panel)" },
      sx.ticks.map((own) => make("line", { class: "gridline", x1: sx(own), x2: sx(own), y1: 0, y2: high })), sy.ticks.map((own) => make("line", { class: "gridline", x1: 0, x2: wide - 14, y1: sy(own), y2: sy(own) })),
      make("path", { d: seen.map(([a, b]) => `M${at(a, b)}h0`).join(""), stroke: colour("cloud"), "stroke-width": 2.5, "stroke-linecap": "round", "stroke-opacity": 0.3 }),
      points(DATA.uniform).map(([a, b]) => make("rect", { x: sx(a) - 3, y: sy(b) - 3, width: 6, height: 6, fill: "none", stroke: colour("soft") })),
      make("path", { d: stairs(points(DATA.front)), fill: "none", stroke: colour("ink"), "stroke-width": 1.2, "stroke-dasharray": "5 3" }),
      DATA.constraints.map((own) => (own.metric === x ? make("line", { x1: sx(own.bound), x2: sx(own.bound), y1: 0, y2: high, stroke: colour("bound"), "stroke-dasharray": "6 4" }) : own.metric === y ? make("line", { x1: 0, x2: wide, y1: sy(own.bound), y2: sy(own.bound), stroke: colour("bound"), "stroke-dasharray": "6 4" }) : null)));
    /** The border of what a front reaches: it holds a value until the next network is better. */
    function stairs(pairs) {
      const isUp = metricOf[x].direction === "minimize", sorted = pairs.sort((a, b) => (isUp ? a[0] - b[0] : b[0] - a[0]));
      return sorted.map(([a, b], place) => (place ? `H${sx(a).toFixed(1)}V${sy(b).toFixed(1)}` : `M${at(a, b)}`)).join("");
    }
    const panels = shownOnes.map((own, number) => {
      const left = 54 + wide * (number % columns), top = 20 + (high + 24) * Math.floor(number / columns), stroke = onCard(own.colour);
      const isLowest = number + columns >= shownOnes.length, isFirst = number % columns === 0;
      return make("g", { transform: `translate(${left.toFixed(1)} ${top.toFixed(1)})`, "data-series": own.name },
        make("use", { href: "#panel-back" }), make("text", { class: "name", x: 0, y: -7, style: "font-weight:600" }, own.name),
        points(own.front).map(([a, b]) => make("circle", { cx: sx(a).toFixed(1), cy: sy(b).toFixed(1), r: 3.4, fill: stroke, stroke: colour("ink"), "stroke-width": 0.7 })),
        isFirst ? sy.ticks.map((tick) => make("text", { x: -6, y: sy(tick) + 4, "text-anchor": "end" }, sy.text(tick))) : null,
        isLowest ? labelled(sx).map((tick) => make("text", { x: sx(tick), y: high + 15, "text-anchor": "middle" }, sx.text(tick))) : null);
    });
    const names = [make("text", { class: "name", x: (54 + width) / 2, y: height - 5, "text-anchor": "middle" }, titled(x)), make("text", { class: "name", transform: `translate(12 ${height / 2}) rotate(-90)`, "text-anchor": "middle" }, titled(y))];
    const hides = make("g", { style: "display:none" }, back);
    box.append(make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${y} against ${x}, a panel for each strategy` }, inside, hides, panels, names));
  }
  function draw() { tellHidden(); curves(); fronts(); }
  $("pair").replaceChildren(...DATA.pairs.map(([x, y], number) => make("option", { value: number }, `${y} against ${x}`)));
  $("pair").addEventListener("change", fronts);
  $("pair").parentElement.hidden = DATA.pairs.length < 2;
  $("fronts-section").hidden = !DATA.pairs.length;
  $("fronts-note").textContent = `The front that each strategy found in its middle run; dashed: ${DATA.best}; grey: points of the space${Object.values(DATA.uniform)[0]?.length ? "; squares: all layers alike" : ""}.`;
  $("all").addEventListener("click", () => { hidden.clear(); draw(); $("strategies").querySelector("button").focus(); });
  scrollable($("strategies"), "strategies");
  table();
  redrawn($("curves"), draw);
  when("theme", table);
  when("theme", tellHidden);
  draw();
})();
