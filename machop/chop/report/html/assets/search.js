// The page of a search: title, facts, origin.
(() => {
  document.title = `${DATA.name}: ${DATA.title}`;
  $("title").textContent = DATA.title;
  $("subtitle").textContent = `${DATA.name}${DATA.under ? ` · ${DATA.under}` : ""}`;
  $("facts").replaceChildren(...DATA.facts.map((own) => make("li", {}, own)));
  $("origin").replaceChildren(...DATA.provenance.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  if (DATA.toml) $("toml").replaceChildren(command(DATA.toml, "TOML")); else $("toml-box").hidden = true;
  drawCharts();
  redrawn($("charts"), drawCharts);
  $("banner").hidden = !DATA.notes.length;
  $("banner").replaceChildren(...DATA.notes.map((own) => make("p", {}, own)));
  const bend = knee(frontier(state.x, state.y), state.x, state.y);
  const first = bend ?? (DATA.front.length ? placeOf.get(nameOf(DATA.front[0].trial, DATA.front[0].tuned)) : undefined);
  if (first !== undefined) select(first);
})();

/** Where the focus is: the steps from the document down to the element, and what is typed there. */
function focused() {
  const element = document.activeElement, steps = [];
  if (!element || element === document.body) return null;
  for (let own = element; own.parentElement; own = own.parentElement) steps.unshift([...own.parentElement.children].indexOf(own));
  const isTyped = element.tagName === "INPUT" && element.type !== "checkbox";
  return { steps, tag: element.tagName, label: element.getAttribute("aria-label"), text: isTyped ? element.value : null };
}
function focusAgain(saved) {
  if (!saved) return;
  const element = saved.steps.reduce((own, step) => own?.children[step], document.documentElement);
  if (element?.tagName !== saved.tag || element.getAttribute("aria-label") !== saved.label) return;
  if (saved.text !== null) element.value = saved.text;
  element.focus({ preventScroll: true });
}

/** What the user has chosen, for a newer version of this page. */
function savedState() {
  return { ...state, selected: state.selected === null ? null : T.name[state.selected], theme: document.documentElement.dataset.theme, scroll: window.scrollY, rows: $("table").scrollTop, opened: [...document.querySelectorAll("details[open]")].map((own) => own.id), focus: focused() };
}
function restoreState(saved) {
  if (saved.theme) document.documentElement.dataset.theme = saved.theme;
  for (const [id, key] of [["axis-x", "x"], ["axis-y", "y"]]) if (metricOf[saved[key]]) { state[key] = saved[key]; $(id).value = saved[key]; }
  for (const [id, key] of [["log-x", "logX"], ["log-y", "logY"], ["tests", "tests"], ["hides", "hides"]]) { state[key] = saved[key]; $(id).checked = saved[key]; }
  const kept = Object.entries(saved.brushes).filter(([column]) => T.metrics[column] || T.codes[column]);
  brush(Object.fromEntries(kept));
  if (placeOf.has(saved.selected)) select(placeOf.get(saved.selected));
  Front.draw();
  tell("theme");
  window.scrollTo(0, saved.scroll);
  $("table").scrollTop = saved.rows;
  for (const id of saved.opened) if ($(id)) $(id).open = true;
  focusAgain(saved.focus);
}
