// The picture of the front: two metrics, all networks, baselines, constraints; drag to filter, click to select.
const Front = (() => {
  const box = $("front-plot"), cloud = make("canvas"), top = make("svg", { "aria-hidden": "true" });
  box.append(cloud, top);
  let sx, sy, line = [], width = 0, height = 0, drag = null;
  const margin = { left: 66, right: 18, top: 12, bottom: 42 };

  function density() {
    return DATA.density.find((own) => (own.x === state.x && own.y === state.y) || (own.x === state.y && own.y === state.x));
  }
  /** The ends of the networks' own values; a baseline far outside is named at the edge, so that the front has room. */
  function isFar(value, name) {
    const [low, high] = extent(T.metrics[name].filter((_, place) => T.state[place] !== 2));
    return value > high + 0.6 * (high - low) || value < low - 0.6 * (high - low);
  }
  function marks() { return DATA.baselines.filter((own) => own.metrics[state.x] !== undefined && own.metrics[state.y] !== undefined); }
  const areObjectives = () => objectives.includes(state.x) && objectives.includes(state.y);
  /** Whether the page has every network that was measured; of very many it has the front and some others. */
  const isWhole = DATA.measured <= T.tuned.filter((own) => !own).length;
  /** The exact front by the two metrics of the picture; it is that of the objectives, and of no other metrics. */
  function exact() {
    if (!areObjectives() || !DATA.exact.length) return [];
    const turnX = direction[state.x] === "minimize" ? 1 : -1, turnY = direction[state.y] === "minimize" ? 1 : -1;
    const sorted = DATA.exact.map((own) => [own.metrics[state.x], own.metrics[state.y]]).filter(([x, y]) => x != null && y != null).sort((a, b) => turnX * (a[0] - b[0]) || turnY * (a[1] - b[1]));
    let best = Infinity;
    return sorted.filter(([, y]) => { const isBetter = turnY * y < best; if (isBetter) best = turnY * y; return isBetter; });
  }

  function ranges() {
    const grid = density(), found = [];
    for (const [name, isLog, side] of [[state.x, state.logX, 0], [state.y, state.logY, 1]]) {
      const values = T.metrics[name].filter((_, place) => T.state[place] !== 2);
      const others = [...marks().filter((own) => isLog || !isFar(own.metrics[name], name)), ]
        .map((own) => own.metrics[name]).concat(exact().map((own) => own[side]));
      if (grid) others.push(...(grid.x === name ? grid.range.slice(0, 2) : grid.range.slice(2)));
      if (side === 1 && state.tests) for (const row of DATA.front) { const own = row.test[name]; if (own) others.push(...own.filter((end) => end !== null)); }
      found.push(extent(values.concat(others), isLog));
    }
    return found;
  }

  function draw() {
    width = box.clientWidth;
    height = Math.max(300, Math.min(520, width * 0.68));
    box.style.height = `${height}px`;
    const [[x0, x1], [y0, y1]] = ranges();
    sy = scale(y0, y1, height - margin.bottom, margin.top, state.logY);
    margin.left = roomForTicks(sy.ticks.map(sy.text), 58);
    sx = scale(x0, x1, margin.left, width - margin.right, state.logX);
    line = isWhole || (areObjectives() && !DATA.goals.sum) ? frontier(state.x, state.y) : [];
    points();
    axes();
  }

  function points() {
    if (!sx) return;
    const context = fitted(cloud, width, height), grid = density();
    if (grid) cells(context, grid);
    const isShown = new Uint8Array(COUNT);
    for (const place of visible) isShown[place] = 1;
    const radius = COUNT > 3000 ? 1.7 : COUNT > 600 ? 2.4 : 3.2;
    for (const isBright of [false, true]) {
      context.fillStyle = colour("cloud");
      for (let place = 0; place < COUNT; place++) {
        if (T.state[place] === 2 || Boolean(isShown[place]) !== isBright || (state.hides && !isInside[place])) continue;
        const x = T.metrics[state.x][place], y = T.metrics[state.y][place];
        if (x === null || y === null) continue;
        context.globalAlpha = !isBright ? 0.12 : isInside[place] ? (COUNT > 3000 ? 0.5 : 0.75) : 0.3;
        context.beginPath();
        context.arc(sx(x), sy(y), radius, 0, 7);
        context.fill();
      }
    }
    context.globalAlpha = 1;
  }

  function cells(context, grid) {
    const most = Math.log(1 + Math.max(...grid.cells.map((own) => own[1])));
    const [a0, a1, b0, b1] = grid.range, [wide, high] = grid.bins, isTurned = grid.x !== state.x;
    context.fillStyle = colour("cloud");
    for (const [cell, count] of grid.cells) {
      const a = Math.floor(cell / high), b = cell % high;
      const left = a0 + ((a1 - a0) * a) / wide, right = a0 + ((a1 - a0) * (a + 1)) / wide;
      const low = b0 + ((b1 - b0) * b) / high, up = b0 + ((b1 - b0) * (b + 1)) / high;
      const [xa, xb, ya, yb] = isTurned ? [low, up, left, right] : [left, right, low, up];
      context.globalAlpha = 0.08 + 0.6 * (Math.log(1 + count) / most);
      const x = sx(xa), y = sy(yb);
      context.fillRect(x, y, Math.max(1, sx(xb) - x + 0.4), Math.max(1, sy(ya) - y + 0.4));
    }
    context.globalAlpha = 1;
  }

  function axes() {
    if (!sx) return;
    top.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [], bottom = height - margin.bottom;
    for (const at of sx.ticks) parts.push(make("line", { class: "gridline", x1: sx(at), x2: sx(at), y1: margin.top, y2: bottom }));
    for (const at of labelled(sx)) parts.push(make("text", { x: sx(at), y: bottom + 16, "text-anchor": "middle" }, sx.text(at)));
    for (const at of sy.ticks) parts.push(make("line", { class: "gridline", x1: margin.left, x2: width - margin.right, y1: sy(at), y2: sy(at) }), make("text", { x: margin.left - 7, y: sy(at) + 4, "text-anchor": "end" }, sy.text(at)));
    parts.push(make("text", { class: "name", x: (margin.left + width - margin.right) / 2, y: height - 6, "text-anchor": "middle" }, `${titled(state.x)}${arrow(state.x, "→", "←")}`));
    parts.push(make("text", { class: "name", transform: `translate(14 ${(margin.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, `${titled(state.y)}${arrow(state.y, "→", "←")}`));
    for (const own of constraints) parts.push(...bound(own, bottom));
    parts.push(...path(exact(), "exact", "4 4"));
    parts.push(...path(line.map((place) => [T.metrics[state.x][place], T.metrics[state.y][place]]), "front", null));
    if (state.tests) for (const row of DATA.front) parts.push(...interval(row));
    for (const place of uniform) parts.push(square(place));
    for (const row of DATA.front) {
      const place = placeOf.get(nameOf(row.trial, row.tuned));
      if (place !== undefined) parts.push(make("circle", { cx: sx(T.metrics[state.x][place]), cy: sy(T.metrics[state.y][place]), r: 4.2, fill: colour("front"), "fill-opacity": visible.includes(place) ? 1 : 0.25 }));
    }
    for (const own of marks()) parts.push(...baseline(own, bottom));
    const bend = knee(line, state.x, state.y);
    if (bend !== null) parts.push(make("circle", { cx: sx(T.metrics[state.x][bend]), cy: sy(T.metrics[state.y][bend]), r: 9, fill: "none", stroke: colour("mark"), "stroke-width": 2, "stroke-dasharray": "3 2" }), make("text", { x: sx(T.metrics[state.x][bend]) + 12, y: sy(T.metrics[state.y][bend]) + 16, class: "name" }, "knee"));
    if (state.selected !== null && T.metrics[state.x][state.selected] !== null && T.metrics[state.y][state.selected] !== null) parts.push(make("circle", { id: "chosen", cx: sx(T.metrics[state.x][state.selected]), cy: sy(T.metrics[state.y][state.selected]), r: 7, fill: colour("mark"), "fill-opacity": 0.35, stroke: colour("mark"), "stroke-width": 2.5 }));
    top.replaceChildren(...parts);
  }
  const arrow = (name, up, down) => !direction[name] ? "" : ` ${direction[name] === "minimize" ? `(less is better ${down})` : `(more is better ${up})`}`;

  function bound(own, bottom) {
    const style = { stroke: colour("bound"), "stroke-dasharray": "6 4", "stroke-width": 1.5 };
    const label = { style: `fill:${colour("bound")}` };
    if (own.metric === state.x) { const x = sx(own.bound); return x < margin.left || x > width - margin.right ? [] : [make("line", { x1: x, x2: x, y1: margin.top, y2: bottom, ...style }), make("text", { x: x + 4, y: margin.top + 12, ...label }, own.text.split(" (")[0])]; }
    if (own.metric === state.y) { const y = sy(own.bound); return y < margin.top || y > height - margin.bottom ? [] : [make("line", { x1: margin.left, x2: width - margin.right, y1: y, y2: y, ...style }), make("text", { x: width - margin.right - 4, y: y - 5, "text-anchor": "end", ...label }, own.text.split(" (")[0])]; }
    return [];
  }
  function baseline(own, bottom) {
    const style = `fill:${colour("fp32")}`, stroke = { stroke: colour("fp32"), "stroke-opacity": 0.6, "stroke-dasharray": "2 4" };
    const x = sx(own.metrics[state.x]), y = sy(own.metrics[state.y]), right = width - margin.right;
    const isIn = [x >= margin.left && x <= right, y >= margin.top && y <= bottom];
    if (isIn[0] && isIn[1]) return [make("text", { x, y: y + 6, "text-anchor": "middle", style: `${style};font:700 17px sans-serif` }, "×"), make("text", { x: x > right - 90 ? x - 10 : x + 10, y: y + 4, "text-anchor": x > right - 90 ? "end" : "start", style }, own.name)];
    if (isIn[1]) return [make("line", { x1: margin.left, x2: right, y1: y, y2: y, ...stroke }), make("text", { x: right - 4, y: y - 5, "text-anchor": "end", style }, `${own.name}: ${shown(own.metrics[state.y])} (${state.x} ${shown(own.metrics[state.x])}${metricOf[state.x]?.unit ? ` ${metricOf[state.x].unit}` : ""} ${x > right ? "→" : "←"})`)];
    if (isIn[0]) return [make("line", { x1: x, x2: x, y1: margin.top, y2: bottom, ...stroke }), make("text", { x: x - 5, y: margin.top + 28, "text-anchor": "end", style }, `${own.name}: ${shown(own.metrics[state.x])}`)];
    return [];
  }
  function path(pairs, name, dashes) {
    if (!pairs.length) return [];
    pairs.sort((a, b) => a[0] - b[0]);
    const points = pairs.map(([x, y]) => `${sx(x).toFixed(1)},${sy(y).toFixed(1)}`).join(" ");
    return [make("polyline", { points, fill: "none", stroke: colour(name), "stroke-width": 1.6, "stroke-dasharray": dashes })];
  }
  function interval(row) {
    const test = row.test[state.y], at = row.metrics[state.x];
    if (!test || at === undefined || at === null) return [];
    const [value, low, high] = test, x = sx(at), stroke = { stroke: colour("front"), "stroke-opacity": 0.55, "stroke-width": 1.4 };
    const parts = [make("line", { x1: x - 4, x2: x + 4, y1: sy(value), y2: sy(value), ...stroke })];
    if (low !== null) parts.push(make("line", { x1: x, x2: x, y1: sy(low), y2: sy(high), ...stroke }));
    return parts;
  }
  function square(place) {
    const x = T.metrics[state.x][place], y = T.metrics[state.y][place];
    return x === null || y === null ? null : make("rect", { x: sx(x) - 4, y: sy(y) - 4, width: 8, height: 8, fill: "none", stroke: colour("ink"), "stroke-opacity": 0.7 });
  }

  function nearest(event) {
    const area = box.getBoundingClientRect(), mx = event.clientX - area.left, my = event.clientY - area.top;
    let best = null, distance = 16 ** 2;
    for (const place of visible) {
      const x = T.metrics[state.x][place], y = T.metrics[state.y][place];
      if (x === null || y === null || T.state[place] === 2) continue;
      const own = (sx(x) - mx) ** 2 + (sy(y) - my) ** 2 - (frontOf.has(T.name[place]) ? 20 : 0);
      if (own < distance) { distance = own; best = place; }
    }
    return best;
  }
  function about(place) {
    const row = frontOf.get(T.name[place]);
    const names = [...new Set([...objectives, ...constraints.map((own) => own.metric), state.x, state.y])];
    return [make("b", {}, `trial ${T.name[place]}${!row ? "" : row.within ? ", on the front" : ", nearest to the constraints"}${T.state[place] === 1 ? ", stopped early" : ""}`),
      ...names.map((name) => `${titled(name)}: ${shown(T.metrics[name][place])}${row?.test[name] ? `, test ${shown(row.test[name][0])}` : ""}`), formatsText(place).slice(0, 300)];
  }

  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const area = box.getBoundingClientRect();
    drag = { x: event.clientX - area.left, y: event.clientY - area.top, rect: make("rect", { fill: colour("mark"), "fill-opacity": 0.18, stroke: colour("mark") }) };
    top.append(drag.rect);
    box.setPointerCapture(event.pointerId);
  });
  box.addEventListener("pointermove", (event) => {
    if (drag) {
      const area = box.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
      for (const [name, value] of Object.entries({ x: Math.min(x, drag.x), y: Math.min(y, drag.y), width: Math.abs(x - drag.x), height: Math.abs(y - drag.y) })) drag.rect.setAttribute(name, value);
      return;
    }
    const place = nearest(event);
    if (place === null) hideTip(); else showTip(event, ...about(place));
  });
  box.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const area = box.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    const [x0, x1] = [Math.min(x, drag.x), Math.max(x, drag.x)], [y0, y1] = [Math.min(y, drag.y), Math.max(y, drag.y)];
    drag.rect.remove();
    drag = null;
    if (x1 - x0 < 5 && y1 - y0 < 5) { const place = nearest(event); if (place !== null) select(place); return; }
    brush({ [state.x]: [sx.back(x0), sx.back(x1)], [state.y]: [sy.back(y1), sy.back(y0)] });
  });
  box.addEventListener("pointerleave", hideTip);
  box.addEventListener("pointercancel", () => { drag?.rect.remove(); drag = null; });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    walk(step);
  });

  /** Selects the next network of the front to the right (1) or to the left (-1). */
  function walk(step) {
    const places = DATA.front.map((row) => placeOf.get(nameOf(row.trial, row.tuned))).filter((place) => place !== undefined && T.metrics[state.x][place] !== null)
      .sort((a, b) => T.metrics[state.x][a] - T.metrics[state.x][b]);
    if (!places.length) return;
    const now = places.indexOf(state.selected);
    select(now < 0 ? places[step > 0 ? 0 : places.length - 1] : places[Math.max(0, Math.min(places.length - 1, now + step))]);
  }

  function legend() {
    const goal = DATA.front.every((own) => own.within) ? areObjectives() || isWhole ? "front" : `front of ${objectives.join(" and ")}` : "nearest to the constraints";
    const items = [["front", goal], ["cloud", `${COUNT.toLocaleString("en-US")} networks${density() ? " and the density of all" : ""}`]].map(([name, text]) => make("span", {}, make("i", { style: `background:${colour(name)}` }), text));
    if (!isWhole && !areObjectives()) items.push(make("span", {}, `of ${DATA.measured.toLocaleString("en-US")} networks these ${COUNT.toLocaleString("en-US")} alone are on the page: no front is drawn on these axes`));
    if (exact().length) items.push(make("span", {}, make("i", { class: "bar", style: `border-color:${colour("exact")}` }), "exact front"));
    if (DATA.exact.length && !areObjectives()) items.push(make("span", {}, `the exact front is known for ${objectives.join(" and ")}, and not drawn on other axes`));
    if (sx && constraints.some((own) => bound(own, 0).length)) items.push(make("span", {}, make("i", { class: "bar", style: `border-color:${colour("bound")}` }), "constraint"));
    if (DATA.has_test && state.tests) items.push(make("span", {}, "┼ score on the test set, 95 % interval"));
    if (knee(line, state.x, state.y) !== null) items.push(make("span", {}, "◌ knee: the network of the front that lies farthest from the line between its ends"));
    if (uniform.length) items.push(make("span", {}, "□ same formats in all layers"));
    $("front-legend").replaceChildren(...items);
  }

  for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"]]) {
    $(id).replaceChildren(...DATA.metrics.filter((own) => T.metrics[own.name].some((value) => value !== null)).map((own) => make("option", { value: own.name }, titled(own.name))));
    $(id).value = state[key];
    $(id).addEventListener("change", () => { state[key] = $(id).value; draw(); legend(); });
  }
  for (const [id, key] of [["log-x", "logX"], ["log-y", "logY"], ["tests", "tests"]]) $(id).addEventListener("change", () => { state[key] = $(id).checked; draw(); legend(); });
  $("hides").addEventListener("change", () => { state.hides = $("hides").checked; filter(); tell("filter"); });
  $("hides").parentElement.hidden = isInside.every(Boolean);
  $("tests").parentElement.hidden = !DATA.has_test;
  redrawn(box, () => { draw(); legend(); });
  when("filter", () => { points(); axes(); });
  when("selection", axes);
  return { walk, draw };
})();
