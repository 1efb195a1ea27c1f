/** The chart by day. */
import {copyOf, fill, find, keep, put} from "./elements.js";
import {usage, view} from "./view.js";
import {MEASURES, count, dayName, money} from "./words.js";

const MOST = 5; // names with a colour of their own; all others share one
const OTHERS = "others";

let pointed = -1; // the day whose figures are read out; -1 is none

function drawn(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.textContent = text;
  return element;
}

/** Round values from zero to the first that is not below `most`. */
function ticksTo(most, least) {
  if (!most) return [0];
  const size = 10 ** Math.floor(Math.log10(most / 4));
  const step = Math.max(least, size * [1, 2, 5, 10].find(factor => factor * size >= most / 4 * (1 - 1e-9)));
  return Array.from({length: Math.ceil(most / step - 1e-9) + 1}, (_, i) => i * step);
}

/** Where things lie in the chart, in its pixels. */
function layOut(svg, labels, top) {
  const left = 10 + 7 * Math.max(...labels.map(label => label.length));
  const [right, bottom] = [svg.clientWidth - 1, svg.clientHeight - 24];
  const step = (right - left) / usage.days.length;
  const y = value => bottom - (bottom - 10) * value / (top || 1);
  return {left, right, bottom, step, x: i => left + (i + 0.5) * step, y};
}

export function drawDays() {
  const svg = find("by-day");
  if (!svg.clientWidth || !usage.days.length) return;
  const {measure} = view();
  const ticks = ticksTo(Math.max(...usage.days.map(row => row[measure])), MEASURES[measure].step);
  const labels = ticks.map(MEASURES[measure].tick);
  const place = layOut(svg, labels, ticks.at(-1));
  svg.replaceChildren(...drawScale(place, ticks, labels), ...drawDates(place), ...drawBars(place, measure), ...drawParts(place, measure));
  svg.ariaLabel = summary();
  point(pointed);
}

const drawScale = ({left, right, y}, ticks, labels) => ticks.flatMap((tick, i) => [
  drawn("line", {x1: left, x2: right, y1: y(tick), y2: y(tick), class: i ? "grid" : "axis"}),
  drawn("text", {x: left - 8, y: y(tick) + 4, "text-anchor": "end"}, labels[i])]);

/** As many dates as there is room for, counted back from today. */
function drawDates({left, right, bottom, step, x}) {
  const every = Math.ceil(64 / step);
  return usage.days.flatMap((row, i) => {
    if ((usage.days.length - 1 - i) % every || x(i) - 24 < left - 10) return [];
    const last = x(i) + 24 > right;
    const at = last ? {x: right, "text-anchor": "end"} : {x: x(i), "text-anchor": "middle"};
    return [drawn("text", {y: bottom + 18, ...at}, dayName(row.day))];
  });
}

function drawBars({bottom, step, x, y}, measure) {
  const width = Math.min(0.75 * step, 40);
  return usage.days.map((row, i) => {
    const height = row[measure] && Math.max(1.5, bottom - y(row[measure]));
    const today = i === usage.days.length - 1;
    return drawn("rect", {x: x(i) - width / 2, width, y: bottom - height, height, class: today ? "day partial" : "day"});
  });
}

/** The names that used most, the others together, and for each day what each of them used. */
function partsOf(measure) {
  const nameOf = row => row[usage.of] ?? "anonymous";
  const sums = Map.groupBy(usage.parts, nameOf);
  const total = rows => rows.reduce((sum, row) => sum + row[measure], 0);
  const names = [...sums.keys()].sort((one, other) => total(sums.get(other)) - total(sums.get(one))).slice(0, MOST);
  const days = Map.groupBy(usage.parts, row => row.day);
  const all = sums.size > MOST ? [...names, OTHERS] : names;
  return {all, of: (day, name) => total((days.get(day) ?? []).filter(row =>
    name === OTHERS ? !names.includes(nameOf(row)) : nameOf(row) === name))};
}

function drawParts({step, x, y}, measure) {
  const {all, of} = partsOf(measure);
  keep(find("legend"), new Map(all.map((name, at) => [name, {name, at}])), copyOf("legend-row"), (item, {name, at}) => {
    fill(item, {name});
    item.className = `part-${at}`;
  });
  if (all.length < 2) return [];
  const width = Math.min(0.75 * step, 40);
  return usage.days.flatMap(({day}, i) => {
    let below = 0;
    return all.map((name, at) => {
      const [from, to] = [below, below += of(day, name)];
      return drawn("rect", {x: x(i) - width / 2, width, y: y(to), height: y(from) - y(to), class: `part part-${at}`});
    });
  });
}

/** The chart in a sentence: for who cannot see it, and above it while nothing is pointed at. */
function summary() {
  const {measure} = view();
  const {name, words} = MEASURES[measure];
  const top = usage.days.reduce((best, row) => row[measure] > best[measure] ? row : best);
  const open = "; today is not over";
  return `${name} from ${dayName(usage.days[0].day)} to ${dayName(usage.days.at(-1).day)} (UTC): ` +
    (top[measure] ? `at most ${words(top[measure])}, on ${dayName(top.day)}` : "none") + open;
}

/** Mark a day and read its figures out. */
function point(i) {
  pointed = i;
  find("by-day").querySelectorAll(".day").forEach((bar, at) => bar.classList.toggle("pointed", at === i));
  const row = usage.days[i];
  put(find("reading"), !row ? summary() : `${dayName(row.day)}: ${money(row.cost_usd)}, ${count(row.tokens)} tokens, ` +
    `${count(row.requests)} requests, ${count(row.failed)} failed`);
}

/** A finger that is lifted leaves what it pointed at. @param {PointerEvent} event */
export function pointAt({type, pointerType, clientX}) {
  if (type === "pointerleave" && pointerType === "touch") return;
  const bars = [...find("by-day").querySelectorAll(".day")];
  const under = bars.findLastIndex(bar => bar.getBoundingClientRect().x <= clientX);
  if (bars.length) point(type === "pointerleave" ? -1 : under);
}
