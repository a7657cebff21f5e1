// Small charts: history of the search, importance of each choice, correlation of the metrics, time.
/**
 * A chart at the end of a box, drawn at its width once all boxes beside it are there. `marks` may have `range` (the ends of the
 * axis up), `isLog` (across), `height`, `hasNames` (at the ends of the lines) and `near` (called with the name of the series
 * next to the pointer, or null).
 */
function lineChart(box, series, xName, yName, marks = {}) {
  const holder = make("div");
  box.append(holder);
  queueMicrotask(() => { holder.append(lines(roomIn(box, 260, 1100), series, xName, yName, marks)); marks.near?.(null); });
}
const LETTER = 6.7, NAME_GAP = 15, LEAST_WITH_NAMES = 520;
function lines(width, series, xName, yName, marks) {
  const hasNames = marks.hasNames && width >= LEAST_WITH_NAMES;
  const height = marks.height ?? 240, margin = { left: 58, right: hasNames ? 34 + LETTER * Math.max(...series.map((own) => own.name.length)) : 12, top: 12, bottom: 38 };
  const xs = series.flatMap((own) => own.x), ys = series.flatMap((own) => [...own.y, ...(own.low ?? []), ...(own.high ?? [])]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1)], [y0, y1] = marks.range ?? extent(ys);
  const bottom = height - margin.bottom, right = width - margin.right, sy = scale(y0, y1, bottom, margin.top);
  margin.left = roomForTicks(sy.ticks.map(sy.text), margin.left);
  const sx = scale(x0, x1, margin.left, right, marks.isLog);
  const clip = `clip-${(lines.made = (lines.made ?? 0) + 1)}`;
  const parts = [make("clipPath", { id: clip }, make("rect", { x: margin.left, y: margin.top - 2, width: right - margin.left + 2, height: bottom - margin.top + 4 }))];
  for (const at of labelled(sx)) parts.push(make("text", { x: sx(at), y: height - 20, "text-anchor": "middle" }, sx.text(at)));
  for (const at of sy.ticks) parts.push(make("line", { class: "gridline", x1: margin.left, x2: right, y1: sy(at), y2: sy(at) }), make("text", { x: margin.left - 6, y: sy(at) + 4, "text-anchor": "end" }, sy.text(at)));
  parts.push(make("text", { class: "name", x: (margin.left + right) / 2, y: height - 4, "text-anchor": "middle" }, xName), make("text", { class: "name", transform: `translate(12 ${height / 2 - 10}) rotate(-90)`, "text-anchor": "middle" }, yName));
  /** The way along the values of a series, and back where asked for. */
  const way = (own, values, isBack) => {
    const points = own.x.map((at, place) => [sx(at), values[place]]).filter(([, value]) => value !== null).map(([x, value]) => [x, sy(value)]);
    const corners = own.isStep ? points.flatMap(([x, y], place) => (place ? [[x, points[place - 1][1]], [x, y]] : [[x, y]])) : points;
    return (isBack ? corners.reverse() : corners).map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
  };
  for (const own of series) {
    const group = make("g", { "data-series": own.name, "clip-path": `url(#${clip})` });
    if (own.low) group.append(make("path", { class: "band", d: `M${way(own, own.high)}L${way(own, own.low, true)}Z`, fill: own.colour }));
    const line = make("path", { d: `M${way(own, own.y)}`, fill: "none", stroke: own.colour, "stroke-width": own.width ?? 1.8, "stroke-dasharray": own.dashes || null });
    line.append(make("title", {}, own.name));
    group.append(line);
    parts.push(group);
  }
  if (hasNames) {
    const ends = series.map((own) => Math.max(margin.top, Math.min(bottom, sy(own.y.findLast((value) => value !== null) ?? y0))));
    spaced(ends, NAME_GAP, margin.top, bottom).forEach((at, place) => {
      const own = series[place];
      parts.push(make("g", { "data-series": own.name }, make("path", { class: "lead", d: `M${right + 2},${ends[place].toFixed(1)}L${right + 22},${at.toFixed(1)}`, style: `stroke:${own.colour}` }), make("text", { class: "name", x: right + 27, y: at + 4 }, own.name)));
    });
  }
  const chart = make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yName} by ${xName}` }, parts);
  chart.addEventListener("pointermove", (event) => {
    const area = chart.getBoundingClientRect(), at = sx.back(((event.clientX - area.left) / area.width) * width), up = ((event.clientY - area.top) / area.height) * height;
    const found = series.map((own) => ({ own, place: own.x.reduce((best, value, number) => (value <= at ? number : best), 0) }));
    const near = found.reduce((best, one) => { const far = Math.abs(sy(one.own.y[one.place] ?? y0) - up); return far < best.far ? { far, name: one.own.name } : best; }, { far: Infinity, name: null }).name;
    if (marks.near) { found.sort((a, b) => (b.own.y[b.place] ?? -Infinity) - (a.own.y[a.place] ?? -Infinity)); marks.near(near); }
    showTip(event, make("b", {}, `${xName}: ${shown(Math.round(Math.max(x0, Math.min(x1, at))))}`), ...found.map(({ own, place }) =>
      make("div", { style: marks.near && own.name === near ? "font-weight:600" : null }, series.length > 1 ? make("span", { style: `color:${own.colour}` }, "● ") : null, `${own.name}: ${shown(own.y[place])}${own.low ? ` [${shown(own.low[place])}, ${shown(own.high[place])}]` : ""}`)));
  });
  chart.addEventListener("pointerleave", () => { hideTip(); marks.near?.(null); });
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
