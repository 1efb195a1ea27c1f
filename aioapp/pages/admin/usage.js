/** Usage: totals, by day, by key and by model. */
import {drawDays} from "./chart.js";
import {copyOf, fill, find, keep, put, sayIfEmpty, setBar} from "./elements.js";
import {ask} from "./server.js";
import {NOTHING, usage, view} from "./view.js";
import {DAY, count, dayName, duration, figures, inFull, isoDay, money, taken} from "./words.js";

export async function readUsage(signal) {
  const dates = {since: isoDay(Date.now() - (view().days - 1) * DAY), until: isoDay(Date.now())};
  const [day, key, model] = await Promise.all(["day", "key", "model"].map(
    by => ask(`/admin/usage?${new URLSearchParams({by, ...dates})}`, {signal})));
  find("simulated").hidden = !day.simulated;
  Object.assign(usage, {days: everyDay(day.rows, dates), key: key.rows, model: model.rows, total: day.total});
  showUsage();
}

/** A row for each day, zeros where the server has none. */
function everyDay(rows, {since, until}) {
  const known = new Map(rows.map(row => [row.day, row]));
  const length = Math.round((Date.parse(until) - Date.parse(since)) / DAY) + 1;
  const days = Array.from({length}, (_, i) => isoDay(Date.parse(since) + i * DAY));
  return days.map(day => known.get(day) ?? {day, ...NOTHING});
}

export function showUsage() {
  showTotals(usage.total);
  drawDays();
  keep(find("days"), new Map([...usage.days].reverse().map(row => [row.day, row])), copyOf("day-row"), (element, row) =>
    fill(element, {name: {text: dayName(row.day), title: row.day}, ...figures(row)}));
  showShares(find("by-key"), new Map(usage.key.map(row => [row.key ?? "anonymous", row])));
  showShares(find("by-model"), new Map(usage.model.map(row => [row.model, row])));
}

function showTotals(total) {
  const words = figures(total);
  for (const [name, of] of Object.entries(words)) put(find(`total-${name}`), of);
  const notes = {
    cost: `${money(total.cost_usd / total.requests)} a request`,
    tokens: `${count(taken(total))} in, ${count(total.output_tokens)} out`,
    requests: `${duration(total.seconds / total.requests)} on average`,
    failed: words.failed.title,
  };
  for (const [name, note] of Object.entries(notes)) fill(find("totals"), {[name]: total.requests ? note : ""});
}

/** @param {Map<string, object>} rows by name */
function showShares(table, rows) {
  const {measure} = view();
  const sorted = [...rows].sort(([, one], [, other]) => other[measure] - one[measure]);
  const most = sorted[0]?.[1][measure] || 1;
  keep(table.tBodies[0], new Map(sorted.map(pair => [pair[0], pair])), copyOf("share-row"), (element, [name, row]) => {
    fill(element, {name: inFull(name), ...figures(row)});
    setBar(element, row[measure] / most);
  });
  for (const head of table.querySelectorAll("[data-measure]")) {
    head.ariaSort = head.dataset.measure === measure ? "descending" : null;
  }
  sayIfEmpty(table, "Nothing in these days.");
}
