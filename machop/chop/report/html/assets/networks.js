// The networks of a search: columns of metrics and choices, filters, the selected one.
const T = DATA.trials;
const COUNT = T.number.length;
/** The name of a network: the number of its trial, which may be there as the search measured it and tuned. */
const nameOf = (trial, epochs) => `${trial}${epochs ? " tuned" : ""}`;
T.name = T.number.map((number, place) => nameOf(number, T.tuned[place]));
const placeOf = new Map(T.name.map((name, place) => [name, place]));
const frontOf = new Map(DATA.front.map((row) => [nameOf(row.trial, row.tuned), row]));
const objectives = DATA.goals.objectives.map((own) => own.metric);
const constraints = DATA.goals.constraints;
const keys = DATA.choices.filter((own) => own.values.length > 1 && T.codes[own.key]);
const direction = Object.fromEntries(DATA.metrics.map((own) => [own.name, own.direction]));
for (const own of DATA.goals.objectives) direction[own.metric] = own.direction;

const isInside = T.number.map((_, place) =>
  T.state[place] === 0 && constraints.every((own) => {
    const value = T.metrics[own.metric]?.[place];
    return value !== null && value !== undefined && (own.kind === "min" ? value >= own.bound : value <= own.bound);
  }));

const state = { selected: null, x: null, y: null, logX: false, logY: false, hides: false, tests: true, brushes: {} };
state.y = objectives[0];
state.x = objectives[1] ?? DATA.metrics.map((own) => own.name).find((own) => own !== objectives[0]) ?? objectives[0];

/** The value of a column for a network: a metric, or the number of its choice on a key. */
function valueOf(column, place) {
  return T.metrics[column] ? T.metrics[column][place] : T.codes[column]?.[place];
}

let visible = [];
function filter() {
  const brushes = Object.entries(state.brushes);
  visible = [];
  for (let place = 0; place < COUNT; place++) {
    if (state.hides && !isInside[place]) continue;
    if (brushes.every(([column, [low, high]]) => { const own = valueOf(column, place); return own !== null && own >= low && own <= high; })) visible.push(place);
  }
}
function brush(changes) {
  for (const [column, range] of Object.entries(changes)) {
    if (range) state.brushes[column] = range; else delete state.brushes[column];
  }
  filter();
  tell("filter");
}
function select(place) {
  if (place === null || place === undefined) return;
  state.selected = place;
  tell("selection");
}

/** The formats of a network by layer: `{node: {operand: [text, bits]}}`; of the front exactly, else from its choices. */
function cellsOf(place) {
  const row = frontOf.get(T.name[place]);
  return row && !row.running ? row.cells : cellsFromChoices(place);
}
const choiceOf = Object.fromEntries(DATA.choices.map((own) => [own.key, own]));
function configOf(place) {
  const found = Object.fromEntries(Object.entries(DATA.fixed).map(([node, own]) => [node, { ...own }]));
  for (const own of DATA.choices) {
    const value = own.values[T.codes[own.key]?.[place] ?? 0];
    (found[own.node] ??= {})[own.own] = value;
  }
  for (const [node, own, key] of DATA.follows) (found[node] ??= {})[own] = choiceOf[key].values[T.codes[key]?.[place] ?? 0];
  return found;
}
const OPERANDS = { data_in: "activations", other: "other", weight: "weights", bias: "bias", data_out: "result" };
const positionsOf = Object.fromEntries(DATA.layers.map((own) => [own.name, own.positions ?? {}]));
function cellsFromChoices(place) {
  const found = {};
  for (const [node, config] of Object.entries(configOf(place))) {
    const isFloat = config.name === "NA";
    for (const operand of Object.keys(OPERANDS)) {
      const own = Object.entries(config).filter(([key]) => key.startsWith(`${operand}_`));
      if (!own.length) continue;
      const width = config[`${operand}_width`] ?? config[`${operand}_element_bits`];
      if (isFloat || width === "NA" || width === null) { (found[node] ??= {})[operand] = ["float32", 32]; continue; }
      let frac = config[`${operand}_frac_width`];
      if ((frac === "NA" || frac === null || frac === undefined) && /integer|fixed/.test(config.name ?? "") && Number.isFinite(width)) frac = Math.floor(width / 2);
      if (frac === "auto") frac = positionsOf[node]?.[operand]?.[width] ?? frac;
      if (width === undefined) { if (config.name !== undefined && !/integer|fixed/.test(config.name)) (found[node] ??= {})[operand] = [String(config.name), null]; continue; }
      const position = Array.isArray(frac) ? frac.map((own) => `${own}f`).join("…") : `${frac}${Number.isFinite(frac) ? "f" : ""}`;
      const text = `${width}b${frac === undefined || frac === "NA" ? "" : `/${position}`}`;
      (found[node] ??= {})[operand] = [text, Number.isFinite(width) ? width : null];
    }
  }
  return found;
}
function formatsText(place) {
  const row = frontOf.get(T.name[place]);
  if (row && !row.running) return row.text;
  const short = { data_in: "act", weight: "w", bias: "bias", other: "other", data_out: "out" };
  const config = configOf(place);
  return Object.entries(cellsFromChoices(place))
    .map(([node, cells]) => {
      const name = config[node].name, isNamed = DATA.named && name !== undefined && name !== "NA";
      const told = Object.entries(cells).filter(([, [text]]) => !isNamed || text !== name);
      return [node, ...(isNamed ? [name] : []), told.map(([operand, [text]]) => `${short[operand]} ${text}`).join(", ")].join(" ").trim();
    })
    .join("; ") || "unquantised";
}

/** The networks that no other one beats in both metrics of the picture, from left to right. */
function frontier(x, y) {
  const turnX = direction[x] === "minimize" ? 1 : -1, turnY = direction[y] === "minimize" ? 1 : -1;
  const places = [];
  for (let place = 0; place < COUNT; place++)
    if (isInside[place] && T.metrics[x][place] !== null && T.metrics[y][place] !== null) places.push(place);
  places.sort((a, b) => turnX * (T.metrics[x][a] - T.metrics[x][b]) || turnY * (T.metrics[y][a] - T.metrics[y][b]));
  const found = [];
  let best = Infinity;
  for (const place of places) {
    const value = turnY * T.metrics[y][place];
    if (value < best) { best = value; found.push(place); }
  }
  return found.sort((a, b) => T.metrics[x][a] - T.metrics[x][b]);
}

/** The network of a front that lies farthest from the line between its two ends; null of fewer than four. */
function knee(front, x, y) {
  if (front.length < 4) return null;
  const first = front[0], last = front[front.length - 1];
  const wide = T.metrics[x][last] - T.metrics[x][first], high = T.metrics[y][last] - T.metrics[y][first];
  if (!wide || !high) return null;
  let best = null, distance = 0.05;
  for (const place of front) {
    const across = (T.metrics[x][place] - T.metrics[x][first]) / wide;
    const up = (T.metrics[y][place] - T.metrics[y][first]) / high;
    const own = Math.abs(across - up);
    if (own > distance) { distance = own; best = place; }
  }
  return best;
}

/** The networks with one choice on all keys of the same name; none where there is one layer alone. */
const uniform = (() => {
  const groups = {};
  for (const own of keys) (groups[own.own] ??= []).push(own);
  if (!Object.values(groups).some((own) => own.length > 1)) return [];
  const found = [];
  for (let place = 0; place < COUNT; place++) {
    const isUniform = Object.values(groups).every((own) => new Set(own.map((key) => key.values[T.codes[key.key][place]])).size === 1);
    if (isUniform && T.state[place] === 0) found.push(place);
  }
  return found;
})();
filter();
