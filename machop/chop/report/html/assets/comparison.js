// The page of a comparison: curves with bands, fronts, table; strategies can be hidden.
(() => {
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7a5195", "#c0392b", "#5b6470"];
  const DASHES = [null, "7 3", "2 3", "9 3 2 3"];
  const styles = Object.fromEntries(DATA.strategies.map((own, number) => [own.name, { colour: COLOURS[number % COLOURS.length], dashes: DASHES[Math.floor(number / COLOURS.length) % DASHES.length] }]));
  const hidden = new Set();
  const chosen = () => DATA.strategies.filter((own) => !hidden.has(own.name));

  document.title = `${DATA.name}: ${DATA.title}`;
  $("title").textContent = DATA.title;
  $("subtitle").textContent = DATA.name;
  $("verdict").replaceChildren(...DATA.verdict.map((own) => make("li", {}, own)));
  $("facts").replaceChildren(...DATA.facts.map((own) => make("li", {}, own)));
  $("origin").replaceChildren(...DATA.provenance.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  $("table-legend").textContent = DATA.legend;

  function table() {
    const percent = (value) => (value === null ? "–" : `${(value < 1 ? Math.min(99.9, 100 * value) : 100 * value).toFixed(1)} %`);
    const head = make("tr", {}, make("th", { class: "text" }, "strategy"), DATA.targets.map((own) => make("th", {}, `to ${Math.round(own * 100)} %`)), make("th", {}, `at the end${DATA.strategies.some((own) => own.runs > 1) ? " [10-90]" : ""}`), make("th", {}, "repeats"), make("th", {}, "ms a trial"));
    const rows = DATA.strategies.map((own) => make("tr", { "data-strategy": own.name, style: hidden.has(own.name) ? "opacity:.4" : "" },
      make("td", { class: "text" }, make("button", { "aria-pressed": String(!hidden.has(own.name)), onclick: () => { if (hidden.has(own.name)) hidden.delete(own.name); else hidden.add(own.name); draw(); } }, make("span", { style: `color:${styles[own.name].colour}` }, "● "), own.name)),
      own.to.map(([low, median, high], place) => make("td", { title: median === null ? "not reached" : `${shown(low)} to ${high === null ? "more" : shown(high)}` }, own.reached[place])),
      make("td", {}, `${percent(own.at_end[1])}${own.runs > 1 ? ` [${percent(own.at_end[0])}, ${percent(own.at_end[2])}]` : ""}`), make("td", {}, shown(own.repeats)), make("td", {}, shown(own.seconds === null ? null : own.seconds * 1000))));
    $("strategies").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, rows)));
  }
  function curves() {
    const box = $("curves");
    box.replaceChildren();
    const chart = (title, pick, xName, yName) => {
      const found = make("section", {}, make("h2", {}, title));
      box.append(found);
      const series = chosen().map((own) => ({ name: own.name, ...pick(own), ...styles[own.name] })).filter((own) => own.x.length);
      if (series.length) lineChart(found, series, xName, yName);
    };
    const share = DATA.share[0].toUpperCase() + DATA.share.slice(1);
    chart(`${share} by evaluation`, (own) => own.curve, "evaluations", "share");
    for (const label of Object.keys(DATA.strategies[0]?.regret ?? {})) chart(`Regret: ${label}`, (own) => own.regret[label], "evaluations", "regret");
    chart(`${share} by trial, repeats among them`, (own) => own.by_trial, "trials", "share");
  }
  function fronts() {
    const box = $("fronts"), [x, y] = DATA.pairs[Number($("pair").value) || 0] ?? [];
    box.replaceChildren();
    if (!x) return;
    const width = roomIn(box, 280, 900), height = 400, margin = { left: 62, right: 14, top: 12, bottom: 42 };
    const all = (name) => [DATA.front, DATA.cloud, ...chosen().map((own) => own.front)].flatMap((own) => own[name] ?? []);
    const [[x0, x1], [y0, y1]] = [extent(all(x)), extent(all(y))];
    const sx = scale(x0, x1, margin.left, width - margin.right), sy = scale(y0, y1, height - margin.bottom, margin.top);
    const parts = [];
    for (const at of sx.ticks) parts.push(make("line", { class: "gridline", x1: sx(at), x2: sx(at), y1: margin.top, y2: height - margin.bottom }));
    for (const at of labelled(sx)) parts.push(make("text", { x: sx(at), y: height - 24, "text-anchor": "middle" }, shown(at)));
    for (const at of sy.ticks) parts.push(make("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: sy(at), y2: sy(at) }), make("text", { x: margin.left - 6, y: sy(at) + 4, "text-anchor": "end" }, shown(at)));
    parts.push(make("text", { class: "name", x: (margin.left + width) / 2, y: height - 5, "text-anchor": "middle" }, titled(x)), make("text", { class: "name", transform: `translate(13 ${height / 2}) rotate(-90)`, "text-anchor": "middle" }, titled(y)));
    const cloud = DATA.cloud[x]?.map((at, place) => (at === null || DATA.cloud[y][place] === null ? "" : `M${sx(at).toFixed(1)},${sy(DATA.cloud[y][place]).toFixed(1)}h0`)).join("") ?? "";
    parts.push(make("path", { d: cloud, stroke: colour("cloud"), "stroke-width": 3, "stroke-linecap": "round", "stroke-opacity": 0.3 }));
    const line = (table, style, title) => {
      const points = (table[x] ?? []).map((at, place) => [at, table[y][place]]).filter(([a, b]) => a !== null && b !== null).sort((a, b) => a[0] - b[0]);
      const group = make("g", {}, make("polyline", { points: points.map(([a, b]) => `${sx(a).toFixed(1)},${sy(b).toFixed(1)}`).join(" "), fill: "none", stroke: style.colour, "stroke-width": style.width ?? 1.6, "stroke-dasharray": style.dashes }), points.map(([a, b]) => make("circle", { cx: sx(a), cy: sy(b), r: 2.6, fill: style.colour })));
      group.append(make("title", {}, title));
      return group;
    };
    for (const own of chosen()) parts.push(line(own.front, styles[own.name], own.name));
    parts.push(line(DATA.front, { colour: colour("ink"), dashes: "5 3", width: 1.2 }, DATA.best));
    for (const own of DATA.constraints) if (own.metric === x && own.bound >= x0 && own.bound <= x1) parts.push(make("line", { x1: sx(own.bound), x2: sx(own.bound), y1: margin.top, y2: height - margin.bottom, stroke: colour("bound"), "stroke-dasharray": "6 4" })); else if (own.metric === y && own.bound >= y0 && own.bound <= y1) parts.push(make("line", { x1: margin.left, x2: width - margin.right, y1: sy(own.bound), y2: sy(own.bound), stroke: colour("bound"), "stroke-dasharray": "6 4" }));
    box.append(make("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${y} against ${x}` }, parts));
  }
  function draw() { table(); curves(); fronts(); }
  $("pair").replaceChildren(...DATA.pairs.map(([x, y], number) => make("option", { value: number }, `${y} against ${x}`)));
  $("pair").addEventListener("change", fronts);
  scrollable($("strategies"), "strategies");
  redrawn($("fronts"), draw);
  draw();
})();
