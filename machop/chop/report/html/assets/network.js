// The selected network: metrics, formats by layer with what each layer weighs, and the commands that take it away.
const Selected = (() => {
  const layerOf = Object.fromEntries(DATA.layers.map((own) => [own.name, own]));
  const fp32 = DATA.baselines.find((own) => own.name === "FP32");

  /** Layers up to which the table of formats is shown whole; one of more has a height and scrolls. */
  const MANY_LAYERS = 12;

  function metrics(place, row) {
    const lines = DATA.metrics.filter((own) => T.metrics[own.name][place] !== null).map(({ name }) => {
      const test = row?.test[name], text = alike(test ?? []);
      return make("tr", {}, make("td", { class: "text" }, breakable(titled(name))), make("td", {}, shown(T.metrics[name][place])),
        make("td", {}, test ? [text(test[0]), test[1] === null ? null : make("span", { class: "interval" }, ` [${text(test[1])}, ${text(test[2])}]`)] : null),
        make("td", { class: "soft" }, fp32?.metrics[name] === undefined ? "" : shown(fp32.metrics[name])));
    });
    return scrollable(make("div", { class: "scroll" }, make("table", { class: "metrics" }, make("thead", {}, make("tr", {}, make("th", { class: "text" }, "metric"), make("th", {}, "in the search"), make("th", {}, "test set [95 %]"), make("th", {}, "FP32"))), make("tbody", {}, lines))), "metrics of the network");
  }

  function shade(bits) {
    if (bits === null || bits === undefined) return ["transparent", "inherit"];
    const share = Math.min(1, Math.log2(Math.max(1, bits)) / 5);
    const [few, many] = ["few", "many"].map(channels), mixed = few.map((own, place) => own + share * (many[place] - own));
    return [`rgb(${mixed.map(Math.round).join(" ")})`, inkOn(mixed)];
  }
  function heat(place) {
    const cells = cellsOf(place);
    const nodes = [...new Set([...DATA.layers.map((own) => own.name), ...Object.keys(cells)])].filter((node) => cells[node] && Object.keys(cells[node]).length);
    if (!nodes.length) return make("p", { class: "soft" }, "No layer has a format of its own.");
    const operands = Object.keys(OPERANDS).filter((own) => nodes.some((node) => cells[node][own]));
    const parameters = DATA.layers.reduce((sum, own) => sum + count(own), 0), macs = DATA.layers.reduce((sum, own) => sum + own.macs, 0);
    const drops = Object.fromEntries(nodes.map((node) => [node, drop(layerOf[node])]));
    const most = Math.max(...Object.values(drops).map((own) => own ?? 0), 1e-12), hasDrops = Object.values(drops).some((own) => own !== null);
    /** A loss with as many decimals as show the greatest one to three digits: smaller ones are mostly chance. */
    const lost = (own) => Number(own.toFixed(Math.max(0, Math.min(20, 2 - Math.floor(Math.log10(most)))))) + 0;  // no -0
    const losses = alike(Object.values(drops).map((own) => (own === null ? null : lost(own))));
    const head = make("tr", {}, make("th", { class: "text" }, "layer"), operands.map((own) => make("th", {}, OPERANDS[own])),
      hasDrops ? make("th", {}, "costs alone") : null,
      parameters ? make("th", { title: "share of the parameters of the layers in this table" }, "params") : null, macs ? make("th", {}, "MACs") : null, parameters ? make("th", { title: "weights and biases, each in its format" }, "size") : null);
    const rows = nodes.map((node) => {
      const layer = layerOf[node];
      return make("tr", { "data-layer": node }, make("td", { class: "name" }, breakable(node), layer ? make("span", { class: "soft" }, ` ${layer.op}`) : null),
        operands.map((own) => {
          const cell = cells[node][own];
          if (!cell) return make("td");
          const [back, ink] = shade(cell[1]);
          return make("td", { class: "cell", style: `background:${back};color:${ink}`, title: `${node} ${OPERANDS[own]}: ${cell[0]}` }, cell[0]);
        }),
        hasDrops ? make("td", drops[node] === null ? {} : bar(Math.max(0, drops[node]) / most, "cost"), drops[node] === null ? "" : losses(lost(drops[node]))) : null,
        parameters ? make("td", layer ? bar(count(layer) / parameters) : {}, layer ? percent(count(layer) / parameters) : "") : null,
        macs ? make("td", layer ? bar(layer.macs / macs) : {}, layer ? percent(layer.macs / macs) : "") : null,
        parameters ? make("td", {}, size(layer, cells[node])) : null);
    });
    const others = rest(place, nodes, cells), before = 1 + operands.length + Boolean(hasDrops) + Boolean(parameters) + Boolean(macs);
    if (parameters && others) rows.push(make("tr", { id: "rest" }, make("td", { class: "name soft", colspan: before }, "all other parameters (of model_size)"), make("td", {}, others)));
    const table = scrollable(make("div", { class: `scroll${rows.length > MANY_LAYERS ? " tall" : ""}` }, make("table", { class: "heat", id: "heat" }, make("thead", {}, head), make("tbody", {}, rows))), "formats by layer");
    return hasDrops ? make("div", {}, table, make("p", { class: "soft" }, `Costs alone: ${objectives[0]} that is lost when this layer alone is quantised, with its fewest bits.`)) : table;
  }
  function drop(layer) {
    const name = objectives.find((own) => layer?.alone[own] !== undefined);
    if (!name || fp32?.metrics[name] === undefined) return null;
    return (direction[name] === "minimize" ? 1 : -1) * (layer.alone[name] - fp32.metrics[name]);
  }
  const count = (layer) => Object.values(layer.parameters).reduce((sum, own) => sum + own, 0);
  /** The bytes that the parameters of a layer take, each in its format; null where one is not known. */
  function bytesOf(layer, cells) {
    const bits = Object.entries(layer.parameters).map(([operand, own]) => (cells[operand]?.[1] === null ? null : own * (cells[operand]?.[1] ?? 32)));
    return bits.includes(null) ? null : bits.reduce((sum, own) => sum + own, 0) / 8;
  }
  function size(layer, cells) {
    if (!layer || !count(layer)) return "";
    const bytes = bytesOf(layer, cells);
    return bytes === null ? "" : inBytes(bytes);
  }
  /** What model_size has beside the layers of the table, such as batch norms in float32. */
  function rest(place, nodes, cells) {
    const listed = nodes.filter((node) => layerOf[node]).map((node) => bytesOf(layerOf[node], cells[node]));
    const whole = metricOf.model_size?.unit === "byte" ? T.metrics.model_size?.[place] : null;
    if (whole === null || whole === undefined || listed.includes(null)) return "";
    const left = whole - listed.reduce((sum, own) => sum + own, 0);
    return left > 0.01 ? inBytes(left) : "";
  }
  const inBytes = (bytes) => (bytes >= 1024 ? `${shown(bytes / 1024)} KiB` : `${shown(bytes)} B`);
  /** A share of 1 as a bar behind the text of a cell. */
  const bar = (share, name = "") => ({ class: `share ${name}`, style: `--share:${Math.round(100 * Math.max(0, Math.min(1, share)))}%` });
  const percent = (share) => `${Math.round(share * 100)} %`;

  function commands(place) {
    const trial = T.number[place];
    const untuned = (flag) => (DATA.tuned.includes(trial) && !T.tuned[place] ? flag : "");
    const found = DATA.commands.map(([what, text, flag]) => [make("h3", {}, what), command(text.replaceAll("{trial}", trial).replaceAll("{untuned}", untuned(flag)), what)]);
    const config = configOf(place);
    const isLearned = Object.values(config ?? {}).some((own) => Object.values(own).includes("learned"));  // by a training: in the file of the network
    if (config && !isLearned) found.push([make("details", { id: "network-toml", open: $("network-toml")?.open }, make("summary", {}, "TOML of the formats (passes.quantize)"), command(toml(config), "TOML of the formats"))]);
    return found;
  }
  function toml(config) {
    const value = (own) => (typeof own === "string" || Array.isArray(own) ? JSON.stringify(own) : own === null ? '"NA"' : String(own));
    const tables = Object.entries(config).map(([node, own]) => `[passes.quantize.${/^[A-Za-z0-9_-]+$/.test(node) ? node : JSON.stringify(node)}.config]\n${Object.entries(own).map(([key, item]) => `${key} = ${value(item)}`).join("\n")}`);
    return `[passes.quantize]\nby = "name"\n\n[passes.quantize.default.config]\nname = "NA"\n\n${tables.join("\n\n")}\n`;
  }

  function draw() {
    const place = state.selected, box = $("selected");
    if (place === null) { box.replaceChildren(make("p", { class: "soft" }, "Click a network in the picture or the table; arrow keys walk along the front.")); return; }
    const row = frontOf.get(T.name[place]);
    $("selected-title").textContent = `Trial ${T.name[place]}${!row ? "" : row.within ? " (on the front)" : " (nearest to the constraints)"}`;
    const notes = [];
    if (row?.equal) notes.push(`${row.equal} more with equal objectives`);
    if (row?.tuned) notes.push(`tuned for ${row.tuned} epoch${row.tuned === 1 ? "" : "s"} after the search`);
    if (!isInside[place]) notes.push(T.state[place] === 2 ? `failed: ${T.failed[T.number[place]]}` : T.state[place] === 1 ? "stopped early: figures on fewer samples" : "violates a constraint");
    box.replaceChildren(notes.length ? make("p", { class: "soft" }, notes.join("; ")) : "", metrics(place, row), make("h3", {}, "Formats by layer"), heat(place), ...commands(place).flat());
    $("live").textContent = `Trial ${T.name[place]}: ${objectives.map((name) => `${name} ${shown(T.metrics[name][place])}`).join(", ")}`;
  }
  when("selection", draw);
  when("theme", draw);
  $("previous").addEventListener("click", () => Front.walk(-1));
  $("next").addEventListener("click", () => Front.walk(1));
  draw();
  return { draw };
})();
