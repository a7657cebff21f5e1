// The page of a search: title, facts, origin.
(() => {
  document.title = `${DATA.name}: ${DATA.title}`;
  $("title").textContent = DATA.title;
  $("subtitle").textContent = `${DATA.name}${DATA.under ? ` · ${DATA.under}` : ""}`;
  $("facts").replaceChildren(...DATA.facts.map((own) => make("li", {}, own)));
  $("origin").replaceChildren(...DATA.provenance.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  if (DATA.toml) $("toml").replaceChildren(command(DATA.toml, "TOML")); else $("toml-box").hidden = true;
  drawCharts();
  when("theme", drawCharts);
  const bend = knee(frontier(state.x, state.y), state.x, state.y);
  const first = bend ?? placeOf.get(DATA.front[0]?.trial);
  if (first !== undefined) select(first);
})();
