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

/** The operands as the heat map and as lines of text name them. */
const OPERANDS = { data_in: "activations", other: "other", weight: "weights", key: "keys", value: "values", bias: "bias", data_out: "result" };
const SHORT = { data_in: "act", other: "other", weight: "w", key: "key", value: "value", bias: "bias", data_out: "out" };
/** By node, the tables of its configs with the keys of a point that decide among them. */
const partsOf = {};
for (const [node, leader] of Object.entries(DATA.configs.nodes ?? {}))
  partsOf[node] = DATA.configs.parts.filter((part) => part.nodes.includes(node)).map((part) => ({ ...part, keys: part.keys.map((key) => `${leader}/config/${key}`) }));
const isFloat = (config) => config.name === undefined || config.name === null || config.name === "NA";
/** A node of a network: its config, its cells `{operand: [text, bits]}`, its weight transforms as text. */
function nodeOf(node, place) {
  const found = { config: {}, cells: {}, transforms: "" };
  for (const part of partsOf[node]) {
    const at = part.keys.reduce((sum, key, number) => sum * part.sizes[number] + (T.codes[key]?.[place] ?? 0), 0);
    Object.assign(found.config, part.configs[at]);
    Object.assign(found.cells, part.cells[at]);
    found.transforms ||= part.transforms[at];
  }
  return found;
}
/** The formats of a network as the record has them: measured ones of the front, and those of a training; else null. */
function recordOf(place) {
  const row = frontOf.get(T.name[place]);
  return row && !row.running ? row : DATA.trained[T.number[place]];
}
/** The config of each node that could be quantised; null where the record does not say what the choices lead to. */
function configOf(place) {
  const row = recordOf(place);
  if (row) return row.config;
  if (!DATA.configs.nodes) return null;
  return Object.fromEntries(Object.keys(partsOf).map((node) => [node, nodeOf(node, place).config]).filter(([node, own]) => Object.keys(own).some((key) => key !== "name")));
}
/** The formats of a network by layer: `{node: {operand: [text, bits]}}`; as the record has them, else by its choices. */
function cellsOf(place) {
  const row = recordOf(place), found = cellsFromChoices(place);
  if (row) for (const [node, cells] of Object.entries(row.cells)) found[node] = { ...found[node], ...cells };
  return found;
}
function cellsFromChoices(place) {
  return Object.fromEntries(Object.keys(partsOf).map((node) => [node, nodeOf(node, place).cells]).filter(([, cells]) => Object.keys(cells).length));
}
/** The formats of a network as text by layer, without unquantised ones, and notes: `{texts: {node: text}, notes: [text]}`. */
function textsOf(place) {
  return recordOf(place) ?? (DATA.configs.nodes ? textsFromChoices(place) : { texts: choicesByNode(place), notes: [] });
}
/** The choices of a network by node, of a record that does not say which formats they lead to. */
function choicesByNode(place) {
  const found = {};
  for (const { key, node, own, values } of keys) (found[node] ??= []).push(`${own} ${values[T.codes[key][place]]}`);
  return Object.fromEntries(Object.entries(found).map(([node, texts]) => [node, texts.join(", ")]));
}
function formatsText(place) { return inOneLine(textsOf(place)); }
function inOneLine({ texts, notes }) {
  const layers = Object.entries(texts).map((own) => own.join(" "));
  return [...(layers.length ? layers : ["unquantised"]), ...notes].join("; ");
}
function textsFromChoices(place) {
  const texts = {}, norms = [];
  for (const node of Object.keys(partsOf)) {
    const { config, cells, transforms } = nodeOf(node, place), name = !isFloat(config) && DATA.named ? [config.name] : [];
    const told = isFloat(config) ? {} : Object.fromEntries(Object.entries(cells).map(([operand, [text]]) => [operand, text === "float32" ? "" : text]));
    if (transforms) told.weight = told.weight ? `${told.weight} ${transforms}` : transforms;
    const operands = Object.keys(SHORT).filter((own) => told[own]).map((own) => `${SHORT[own]} ${told[own]}`).join(", ");
    if (name.length || operands) texts[node] = [...name, ...(operands ? [operands] : [])].join(" ");
    if (config.batch_norm !== undefined) norms.push([node, config.batch_norm]);
  }
  const measured = norms.filter(([, own]) => own === "measured").map(([node]) => node);
  const notes = measured.length && measured.length === norms.length ? ["batch norms measured"] : measured.length ? [`batch norm measured: ${measured.join(", ")}`] : [];
  return { texts, notes };
}

/** The networks that no other one beats in both metrics of the picture, from left to right. */
function frontier(x, y) {
  if (!direction[x] || !direction[y]) return [];
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
