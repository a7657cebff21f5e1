// Small charts: history of the search, importance of each choice, correlation of the metrics, time.
/** A chart at the end of a box, drawn at its width once all boxes beside it are there. */
function lineChart(box, series, xName, yName, marks = {}) {
  const holder = make("div");
  box.append(holder);
  queueMicrotask(() => holder.append(lines(roomIn(box, 260, 700), series, xName, yName, marks)));
}
function lines(width, series, xName, yName, marks) {
  const height = 240, margin = { left: 58, right: 12, top: 12, bottom: 38 };
  const xs = series.flatMap((own) => own.x), ys = series.flatMap((own) => [...own.y, ...(own.low ?? []), ...(own.high ?? [])]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1)], [y0, y1] = marks.range ?? extent(ys);
  const sx = scale(x0, x1, margin.left, width - margin.right), sy = scale(y0, y1, height - margin.bottom, margin.top);
  const parts = [];
  for (const at of labelled(sx)) parts.push(make("text", { x: sx(at), y: height - 20, "text-anchor": "middle" }, shown(at)));
  for (const at of sy.ticks) parts.push(make("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: sy(at), y2: sy(at) }), make("text", { x: margin.left - 6, y: sy(at) + 4, "text-anchor": "end" }, shown(at)));
  parts.push(make("text", { class: "name", x: (margin.left + width) / 2, y: height - 4, "text-anchor": "middle" }, xName), make("text", { class: "name", transform: `translate(12 ${height / 2 - 10}) rotate(-90)`, "text-anchor": "middle" }, yName));
  for (const own of series) {
    if (own.low) {
      const there = own.x.map((at, place) => `${sx(at)},${sy(own.high[place])}`), back = own.x.map((at, place) => `${sx(at)},${sy(own.low[place])}`).reverse();
      parts.push(make("path", { d: `M${there.join("L")}L${back.join("L")}Z`, fill: own.colour, "fill-opacity": 0.15 }));
    }
    const points = own.x.map((at, place) => (own.y[place] === null ? null : [at, place])).filter(Boolean);
    const path = points.map(([at, place], number) => `${number && own.isStep ? `H${sx(at).toFixed(1)}V` : number ? "L" : "M"}${number && own.isStep ? "" : `${sx(at).toFixed(1)},`}${sy(own.y[place]).toFixed(1)}`).join("");
    const line = make("path", { d: path, fill: "none", stroke: own.colour, "stroke-width": own.width ?? 1.8, "stroke-dasharray": own.dashes });
    line.append(make("title", {}, own.name));
    parts.push(line);
  }
  const chart = make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yName} by ${xName}` }, parts);
  chart.addEventListener("pointermove", (event) => {
    const area = chart.getBoundingClientRect(), at = sx.back(((event.clientX - area.left) / area.width) * width);
    showTip(event, make("b", {}, `${xName}: ${shown(Math.round(at))}`), ...series.filter((own) => !own.isHidden).map((own) => {
      const place = own.x.reduce((best, value, number) => (value <= at ? number : best), 0);
      return `${own.name}: ${shown(own.y[place])}${own.low ? ` [${shown(own.low[place])}, ${shown(own.high[place])}]` : ""}`;
    }));
  });
  chart.addEventListener("pointerleave", hideTip);
  return chart;
}

function barChart(box, rows) {
  const most = Math.max(...rows.map(([, value]) => value), 1e-12);
  box.append(make("table", { class: "bars" }, make("tbody", {}, rows.map(([name, value]) => make("tr", {}, make("td", { class: "text" }, name.split(" ").flatMap((word) => [make("span", { class: "word" }, breakable(word)), " "])), make("td", { class: "text" }, make("span", { class: "bar", style: `width:${Math.round((value / most) * 80)}px` }), ` ${(value * 100).toFixed(1)} %`))))));
}

const MOST_BARS = 14, MOST_NARROW = 4;
/** A panel for each metric, and one explanation below them; or why there is none. */
function drawImportance(section) {
  if (!DATA.importance.length) {
    const why = DATA.why_no_importance;
    section("What decides each metric", make("p", { class: "soft", id: "why-no-importance" }, `${why[0].toUpperCase()}${why.slice(1)}.`));
    return;
  }
  const panels = make("div", { class: "panels" }), box = section("What decides each metric", panels);
  if (DATA.importance.length > 1) box.classList.add("wide");
  for (const own of DATA.importance) {
    const all = Object.entries(own.shares).map(([key, share]) => [key.replace("/config/", " "), share]), others = all.slice(MOST_BARS);
    const rows = [...all.slice(0, MOST_BARS), ...(others.length ? [[`${others.length} other choices`, others.reduce((sum, [, share]) => sum + share, 0)]] : []), ["interactions and noise", own.rest]];
    const panel = make("div", {}, make("h3", {}, own.metric));
    barChart(panel, rows);
    panels.append(panel);
  }
  const trials = Math.max(...DATA.importance.map((own) => own.trials)).toLocaleString("en-US");
  box.append(make("p", { class: "soft" }, `Share of the variance that each choice explains by itself, if all values of all choices are equally likely: main effects of a functional ANOVA, from a linear model of the ${trials} measured trials. A strategy that looks for good networks does not try all values evenly; effects of values that it hardly tried, or only together with others, are uncertain.`));
}

function drawCharts() {
  const box = $("charts");
  box.replaceChildren();
  const section = (title, ...children) => { const found = make("section", {}, make("h2", {}, title), ...children); box.append(found); return found; };
  const past = DATA.history;
  if (past.evaluations?.length > 1) {
    const [name, values] = Object.entries(past.best)[0];
    lineChart(section("Best so far"), [{ name, x: past.evaluations, y: values, colour: colour("front"), isStep: true }], "evaluations", titled(name));
    if (past.hypervolume) {
      const found = section("Hypervolume of the front so far");
      lineChart(found, [{ name: "share of the measured box", x: past.evaluations, y: past.hypervolume, colour: colour("exact"), isStep: true }], "evaluations", "share");
      found.append(make("p", { class: "soft" }, "Share that the front dominates of the box between the worst and the best value of each objective that this search has measured."));
    }
  }
  const seconds = T.seconds.filter((_, place) => !T.tuned[place]).map((own) => own ?? 0);
  if (DATA.history.evaluations && seconds.some((own) => own > 0)) {
    let sum = 0;
    const all = seconds.map((own) => (sum += own)), step = Math.max(1, Math.ceil(all.length / 400)), places = [...all.keys()].filter((own) => own % step === 0 || own === all.length - 1);
    lineChart(section("Time"), [{ name: "seconds since the first trial", x: places.map((own) => own + 1), y: places.map((own) => all[own]), colour: colour("fp32") }], "trials", "seconds");
  }
  drawImportance(section);
  const related = DATA.correlations;
  if (related?.metrics?.length > 1) {
    const found = section("Rank correlation of the metrics");
    if (related.metrics.length > MOST_NARROW) found.classList.add("wide");
    const rows = related.metrics.map((name, number) => make("tr", {}, make("td", { class: "text" }, name), related.values[number].map((value) => make("td", { class: "cell", style: `background:color-mix(in srgb, ${value >= 0 ? "var(--front)" : "var(--fp32)"} ${Math.round(Math.abs(value ?? 0) * 52)}%, transparent)`, title: shown(value) }, value === null ? "–" : value.toFixed(2)))));
    found.append(scrollable(make("div", { class: "scroll" }, make("table", { class: "heat" }, make("thead", {}, make("tr", {}, make("th"), related.metrics.map((_, number) => make("th", { title: related.metrics[number] }, String(number + 1))))), make("tbody", {}, rows.map((own, number) => { own.firstChild.prepend(`${number + 1} `); return own; })))), "rank correlation"));
    const twins = [];
    for (const [first, a] of objectives.entries()) for (const b of objectives.slice(first + 1)) {
      const value = related.values[related.metrics.indexOf(a)]?.[related.metrics.indexOf(b)];
      if (Math.abs(value ?? 0) >= 0.98) twins.push(`${a} and ${b} order the networks alike (${value.toFixed(2)}): one of the two objectives is enough`);
    }
    if (twins.length) found.append(make("p", { class: "soft" }, `${twins.join("; ")}.`));
  }
}
