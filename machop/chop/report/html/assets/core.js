"use strict";
// Data, state and small helpers that all views share.
const DATA = JSON.parse(document.getElementById("data").textContent);

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** A new element with attributes and children; text is never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const isSvg = ["svg", "g", "line", "path", "rect", "circle", "text", "polyline", "title", "clipPath", "use"].includes(tag);
  const found = isSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) found.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) found.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) found.append(child);
  return found;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The channels of a colour that is written as #rrggbb, each 0 to 255. */
const channelsOf = (hex) => hex.slice(1).match(/../g).map((own) => parseInt(own, 16));
/** The channels of a colour of the style. */
const channels = (name) => channelsOf(colour(name));
/** The relative luminance of WCAG 2, from 0 to 1. */
function luminance(rgb) {
  const [r, g, b] = rgb.map((own) => (own / 255 <= 0.04045 ? own / 3294.6 : ((own / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
/** Black or white, whichever contrasts more with a colour; 4.5 at the least. */
const inkOn = (rgb) => (luminance(rgb) > 0.179 ? "#000" : "#fff");
/** A colour of a line with a little of the ink, as much as makes it contrast with its background by 3 at the least. */
function onCard(hex) {
  const back = luminance(channels("card")), ink = channels("ink"), own = channelsOf(hex);
  for (let share = 0; ; share += 0.05) {
    const mixed = own.map((value, place) => Math.round(value + share * (ink[place] - value))), light = luminance(mixed);
    if (share >= 1 || (Math.max(light, back) + 0.05) / (Math.min(light, back) + 0.05) >= 3) return `rgb(${mixed.join(" ")})`;
  }
}

/** A number as people read it: four significant digits, thousands apart. */
function shown(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  if (Number.isInteger(value) || size >= 1e3) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

/** A text for each of several numbers that stand together: all with as many decimals as one of them needs. */
function alike(values, digits = shown) {
  const decimals = Math.max(0, ...values.map((own) => (own === null || own === undefined ? 0 : /^-?[\d,]+\.(\d+)$/.exec(digits(own))?.[1].length ?? 0)));
  return (own) => {
    const text = digits(own);
    return decimals && /^-?[\d,]+(\.\d+)?$/.test(text) ? own.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }) : text;
  };
}

const metricOf = Object.fromEntries(DATA.metrics?.map((own) => [own.name, own]) ?? []);

function titled(name) {
  const unit = metricOf[name]?.unit;
  return unit ? `${name} [${unit}]` : name;
}

/** Plain listeners: `when("selection", f)` is called by `tell("selection")`. */
const listeners = {};
function when(what, listener) { (listeners[what] ??= []).push(listener); }
function tell(what) { for (const own of listeners[what] ?? []) own(); }

/** Ticks of a linear axis between two ends: about `count`, seldom fewer than three. */
function ticks(low, high, count = 6) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const steps = [0.5, 1, 2, 2.5, 5, 10].map((own) => own * power), place = steps.findIndex((own) => own >= raw);
  const found = multiples(low, high, steps[place]);
  return found.length < 3 ? multiples(low, high, steps[place - 1]) : found;
}

function multiples(low, high, step) {
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9 * step; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const digit of high / low > 1000 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 3, 5, 7]) {
      const at = digit * 10 ** power;
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  return found.length > 1 ? found : ticks(low, high, 4).filter((own) => own > 0);
}

/** A scale from values to pixels; logarithmic where asked for and possible. */
function scale(low, high, from, to, isLog = false) {
  const turn = isLog && low > 0 ? Math.log : (own) => own;
  const start = turn(low), reach = turn(high) - start || 1;
  const found = (value) => from + ((turn(value) - start) / reach) * (to - from);
  found.back = (pixel) => {
    const at = start + ((pixel - from) / (to - from)) * reach;
    return turn === Math.log ? Math.exp(at) : at;
  };
  found.ticks = turn === Math.log ? logTicks(low, high) : ticks(low, high, Math.max(3, Math.abs(to - from) / (to < from ? 50 : 90)));
  found.text = turn === Math.log || !found.ticks.some((own) => Math.abs(own) < 1e7) ? shown : alike(found.ticks, (own) => own.toLocaleString("en-US", { maximumFractionDigits: 10 }));
  return found;
}
/** The room that the numbers of an axis up take at its left, with its name beside them. */
const roomForTicks = (texts, least) => Math.max(least, 30 + 7 * Math.max(0, ...texts.map((own) => own.length)));

/** The ticks below a picture that have a label: all, or every second, third … so that labels in 12 pixels do not touch. */
function labelled(across) {
  const half = (own) => across.text(own).length * 3.6 + 3;
  for (let step = 1; ; step++) {
    const found = across.ticks.filter((_, place) => place % step === 0);
    if (found.slice(1).every((own, place) => across(own) - half(own) >= across(found[place]) + half(found[place]))) return found;
  }
}

function extent(values, isLog = false) {
  let low = Infinity, high = -Infinity;
  for (const own of values) if (own !== null && Number.isFinite(own) && (!isLog || own > 0)) { if (own < low) low = own; if (own > high) high = own; }
  if (low > high) return [isLog ? 1 : 0, isLog ? 10 : 1];
  if (low === high) return isLog ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) * 0.05, high + (Math.abs(high) || 1) * 0.05];
  if (isLog) { const room = (high / low) ** 0.04; return [low / room, high * room]; }
  const room = (high - low) * 0.045;
  return [low - room, high + room];
}

/** A canvas of an element's size, at the screen's own resolution. */
function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

const tip = make("div", { class: "tip", role: "status", hidden: true });
document.body.append(tip);
function showTip(event, ...lines) {
  tip.replaceChildren(...lines.map((own) => (typeof own === "string" ? make("div", {}, own) : own)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? Math.max(4, event.clientY - box.height - 12) : event.clientY + 18}px`;
}
function hideTip() { tip.hidden = true; }

async function copied(text, button) {
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = make("textarea", { style: "position:fixed;opacity:0" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1400);
}

/** A command, or a text, with a button that copies it. */
function command(text, what) {
  const button = make("button", { "aria-label": `copy ${what}`, onclick: () => copied(text, button) }, "copy");
  const words = text.includes("\n") ? [text] : text.split(/( )/).map((word) => (word === " " ? word : make("span", {}, word)));
  return make("div", { class: "command" }, make("pre", {}, words), button);
}

/** Shows at the edges of a box that scrolls sideways that there is more; the keyboard reaches it where it does. */
function scrollable(box, label) {
  const edges = make("div", { class: "edges" }), isFocusable = box.tabIndex >= 0;
  if (box.parentElement) box.replaceWith(edges);
  edges.append(box);
  function update() {
    const more = box.scrollWidth - box.clientWidth;
    edges.classList.toggle("left", box.scrollLeft > 1);
    edges.classList.toggle("right", box.scrollLeft < more - 1);
    if (isFocusable) return;
    const attributes = { tabindex: "0", role: "region", "aria-label": `${label}, scrolls sideways` };
    for (const [name, value] of Object.entries(attributes)) if (more > 1) box.setAttribute(name, value); else box.removeAttribute(name);
  }
  const sizes = new ResizeObserver(update);
  const observe = () => { sizes.disconnect(); for (const own of [box, ...box.children]) sizes.observe(own); };
  new MutationObserver(observe).observe(box, { childList: true });
  box.addEventListener("scroll", update, { passive: true });
  observe();
  return edges;
}
/** The width that a picture in a box has, within bounds. */
function roomIn(box, least, most) {
  const style = getComputedStyle(box);
  return Math.round(Math.max(least, Math.min(most, box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight))));
}
/** A name that may be broken behind each underscore. */
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, place) => (place ? [make("wbr"), part] : [part]));

/** A name in lines of at most so many letters, broken behind spaces, underscores, dots and slashes where it has them. */
function linesOf(name, letters) {
  const lines = [""];
  for (const part of name.match(/[^_ /.]*[_ /.]|[^_ /.]+/g) ?? []) {
    if (lines.at(-1) && lines.at(-1).length + part.trimEnd().length > letters) lines.push("");
    lines[lines.length - 1] += part;
  }
  return lines;
}

/** Heights moved as little as need be so that neighbours are `gap` apart and none is outside `low` to `high`. */
function spaced(heights, gap, low, high) {
  const order = [...heights.keys()].sort((a, b) => heights[a] - heights[b]), groups = [];
  const mean = (group) => group.reduce((sum, own) => sum + own, 0) / group.length;
  order.forEach((own, rank) => {
    groups.push([heights[own] - rank * gap]);
    while (groups.length > 1 && mean(groups.at(-2)) > mean(groups.at(-1))) groups.push([...groups.splice(-2)].flat());
  });
  const found = [], moved = groups.flatMap((group) => group.map(() => mean(group)));
  order.forEach((own, rank) => { found[own] = Math.max(low + rank * gap, Math.min(moved[rank] + rank * gap, high - (order.length - 1 - rank) * gap)); });
  return found;
}

function redrawn(element, draw) {
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth !== width) { width = element.clientWidth; draw(); }
  }).observe(element);
  when("theme", draw);
}

$("theme")?.addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  tell("theme");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => tell("theme"));
