// Parallel coordinates: an axis for each choice and each metric; drag along an axis to filter.
const Parallel = (() => {
  const box = $("parallel-plot"), lines = make("canvas"), top = make("svg");
  box.append(lines, top);
  scrollable(box.parentElement, "all choices and metrics");
  const gap = 92, margin = { bottom: 24, left: 98, right: 66 }, lineHeight = 13, mostLines = 4;
  const columns = [
    ...keys.map((own) => ({ name: own.key, title: own.node, under: own.own.replace(/_/g, " "), values: own.values })),
    ...[...new Set([...DATA.metrics.map((own) => own.name)])].filter((name) => T.metrics[name].some((own) => own !== null)).map((name) => ({ name, title: name, under: metricOf[name]?.unit ?? "", values: null })),
  ];
  let places = [], scales = [], titles = [], width = 0, height = 0, tier = 0;

  function layout() {
    width = Math.max(box.parentElement.clientWidth, margin.left + margin.right + (columns.length - 1) * gap);
    const step = columns.length > 1 ? (width - margin.left - margin.right) / (columns.length - 1) : 0;
    places = columns.map((_, number) => margin.left + number * step);
    titles = columns.map((own) => [...named(own.title), ...(own.under ? [own.under] : [])]);
    tier = lineHeight * Math.max(...titles.map((own) => own.length)) + 2;
    margin.top = 2 * tier + 16;
    height = 252 + margin.top + margin.bottom;
    box.style.width = `${width}px`;
    box.style.height = `${height}px`;
    scales = columns.map((own) => {
      if (own.values) {
        const last = own.values.length - 1;
        const found = (code) => height - margin.bottom - (code / (last || 1)) * (height - margin.top - margin.bottom);
        found.back = (pixel) => ((height - margin.bottom - pixel) / (height - margin.top - margin.bottom)) * last;
        return found;
      }
      const [low, high] = extent(T.metrics[own.name]);
      return scale(low, high, height - margin.bottom, margin.top);
    });
  }
  const gapOf = () => (places.length > 1 ? places[1] - places[0] : width / 2);
  /** The lines of a title, in the room to the axes beside it but one; of very long ones the last is cut. */
  function named(title) {
    const letters = Math.floor((2 * gapOf()) / 6.6), lines = linesOf(title, letters);
    return [...lines.slice(0, mostLines - 1), ...(lines.length < mostLines ? [] : [lines.slice(mostLines - 1).join("")])].map((own) => short(own, letters));
  }
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  function y(number, place) {
    const value = valueOf(columns[number].name, place);
    return value === null || value === undefined ? null : scales[number](value);
  }
  function paint(context, chosen, style, alpha, thick) {
    context.strokeStyle = style;
    context.globalAlpha = alpha;
    context.lineWidth = thick;
    context.beginPath();
    for (const place of chosen) {
      let isDown = false;
      for (let number = 0; number < columns.length; number++) {
        const at = y(number, place);
        if (at === null) { isDown = false; continue; }
        if (isDown) context.lineTo(places[number], at); else context.moveTo(places[number], at);
        isDown = true;
      }
    }
    context.stroke();
    context.globalAlpha = 1;
  }
  function draw() {
    layout();
    const context = fitted(lines, width, height);
    const step = Math.max(1, Math.ceil(visible.length / 6000));
    const chosen = visible.filter((place, number) => T.state[place] !== 2 && (number % step === 0 || frontOf.has(T.name[place])));
    paint(context, chosen.filter((place) => !frontOf.has(T.name[place])), colour("cloud"), Math.max(0.04, Math.min(0.5, 60 / chosen.length)), 1);
    paint(context, chosen.filter((place) => frontOf.has(T.name[place])), colour("front"), 0.8, 1.4);
    if (state.selected !== null) paint(context, [state.selected], colour("mark"), 1, 3);
    axes();
  }
  function axes() {
    top.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const focusedAxis = top.contains(document.activeElement) ? document.activeElement.dataset.axis : null;
    top.replaceChildren(...columns.map((own, number) => {
      const x = places[number], bottom = height - margin.bottom, group = make("g", { class: "axis" });
      group.append(make("line", { x1: x, x2: x, y1: margin.top, y2: bottom }));
      const ticked = own.values ? own.values.map((value, code) => [String(value), scales[number](code)]) : scales[number].ticks.map((at) => [shown(at), scales[number](at)]);
      const room = own.values ? Math.ceil(ticked.length / 14) : 1;
      for (const [text, at] of ticked.filter((_, place) => place % room === 0)) group.append(make("text", { x: x - 6, y: at + 4, "text-anchor": "end" }, short(text, 14)));
      const lift = number % 2 ? tier : 0, last = own.under ? titles[number].length - 1 : Infinity;
      group.append(...titles[number].map((text, line) => make("text", { class: line < last ? "name" : "", x, y: 14 + lift + lineHeight * line, "text-anchor": "middle" }, text)));
      const range = state.brushes[own.name];
      if (range) { const ends = range.map((at) => Math.max(margin.top - 6, Math.min(bottom + 6, scales[number](at)))); group.append(make("rect", { x: x - 7, width: 14, y: Math.min(...ends), height: Math.max(4, Math.abs(ends[0] - ends[1])), fill: colour("mark"), "fill-opacity": 0.45 })); }
      const grip = make("rect", { x: x - 16, width: 32, y: margin.top - 6, height: bottom - margin.top + 12, fill: "transparent", style: "cursor:ns-resize", "data-axis": own.name });
      grip.append(make("title", {}, `${own.title} ${own.under}: drag to filter, click to clear`));
      grip.addEventListener("pointerdown", (event) => begin(event, number));
      if (own.values) reachByKeys(grip, own);
      group.append(grip);
      return group;
    }));
    if (focusedAxis) top.querySelector(`[data-axis="${CSS.escape(focusedAxis)}"]`)?.focus({ preventScroll: true });
  }
  /** Arrow keys choose one value of an axis, Escape chooses all; limits of metrics are typed in the table. */
  function reachByKeys(grip, own) {
    const last = own.values.length - 1, range = state.brushes[own.name];
    const code = range ? Math.max(0, Math.ceil(range[0])) : null, isOne = range && code === Math.min(last, Math.floor(range[1]));
    const said = { tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-label": `${own.title} ${own.under}`, "aria-valuemin": 0, "aria-valuemax": last, "aria-valuenow": code ?? 0, "aria-valuetext": !range ? "all values" : isOne ? own.values[code] : "several values" };
    for (const [name, value] of Object.entries(said)) grip.setAttribute(name, value);
    grip.addEventListener("keydown", (event) => {
      const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!step && event.key !== "Escape") return;
      event.preventDefault();
      const chosen = code === null ? (step > 0 ? 0 : last) : Math.max(0, Math.min(last, code + step));
      brush({ [own.name]: step ? [chosen - 0.3, chosen + 0.3] : null });
    });
  }
  function begin(event, number) {
    event.preventDefault();
    const area = box.getBoundingClientRect(), from = event.clientY - area.top, own = columns[number];
    const move = (now) => {
      const to = now.clientY - area.top;
      let range = null;
      if (Math.abs(to - from) > 4) {
        range = [scales[number].back(Math.max(from, to)), scales[number].back(Math.min(from, to))];
        if (own.values) range = [range[0] - 0.3, range[1] + 0.3];
      }
      brush({ [own.name]: range });
    };
    const end = (now) => { move(now); removeEventListener("pointermove", move); removeEventListener("pointerup", end); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", end);
  }
  redrawn(box.parentElement, draw);
  when("filter", draw);
  when("selection", draw);
  return { columns };
})();

// The filters in words, each with a button that removes it.
(() => {
  function draw() {
    const chips = Object.entries(state.brushes).map(([column, [low, high]]) => {
      const key = keys.find((own) => own.key === column);
      const text = key ? `${key.node} ${key.own}: ${key.values.filter((_, code) => code >= low && code <= high).join(", ") || "none"}` : `${column}: ${!Number.isFinite(high) ? `${shown(low)} or more` : !Number.isFinite(low) ? `${shown(high)} or less` : `${shown(low)} to ${shown(high)}`}`;
      return make("button", { "aria-label": `remove the filter ${text}`, onclick: () => brush({ [column]: null }) }, `${text} ×`);
    });
    if (chips.length) chips.push(make("button", { onclick: () => brush(Object.fromEntries(Object.keys(state.brushes).map((own) => [own, null]))) }, "clear all"));
    $("chips").replaceChildren(...chips);
    $("count").textContent = visible.length === COUNT ? `${COUNT.toLocaleString("en-US")} networks` : `${visible.length.toLocaleString("en-US")} of ${COUNT.toLocaleString("en-US")} networks`;
  }
  when("filter", draw);
  draw();
})();
