/** Usage: totals, by day, by key and by model. */
import {drawDays} from "./chart.js";
import {copyOf, fill, find, keep, put, sayIfEmpty, setBar} from "./elements.js";
import {hrefOf} from "./filters.js";
import {ask} from "./server.js";
import {inOrder} from "./sorting.js";
import {tell} from "./status.js";
import {NOTHING, usage, view} from "./view.js";
import {DAY, count, dayName, duration, figures, inFull, isoDay, money, taken} from "./words.js";

const VALUES = {
  name: ([name]) => name, cost_usd: ([, row]) => row.cost_usd, tokens: ([, row]) => row.tokens,
  requests: ([, row]) => row.requests, failed: ([, row]) => row.failed,
};

export async function readUsage(signal) {
  const dates = {since: isoDay(Date.now() - (view().days - 1) * DAY), until: isoDay(Date.now())};
  const [day, key, model, parts] = await Promise.all(["day", "key", "model", `day,${view().parts}`].map(
    by => ask(`/admin/usage?${new URLSearchParams({by, ...dates})}`, {signal})));
  find("simulated").hidden = !day.simulated;
  Object.assign(usage, {days: everyDay(day.rows, dates), key: key.rows, model: model.rows, total: day.total, parts: parts.rows, of: view().parts});
  tell({total: day.rows.find(row => row.day === dates.until) ?? NOTHING});
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
    showFigures(element, row, {since: row.day, until: row.day}, {text: dayName(row.day), title: row.day}));
  showShares(find("by-key"), "key", new Map(usage.key.map(row => [row.key ?? "anonymous", row])));
  showShares(find("by-model"), "model", new Map(usage.model.map(row => [row.model, row])));
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

/** A row's name and figures, which lead to the requests behind them. */
function showFigures(element, row, wanted, name) {
  fill(element, {name, ...figures(row)});
  element.querySelector('[data-of="name"]').href = hrefOf(wanted);
  element.querySelector('[data-of="failed"]').href = hrefOf({...wanted, outcome: "failed"});
}

/** @param {Map<string, object>} rows by name @param {"key" | "model"} of whose names they are */
function showShares(table, of, rows) {
  const {measure} = view();
  const sorted = inOrder(table, [...rows], VALUES, {by: measure, down: true});
  const most = Math.max(...sorted.map(([, row]) => row[measure])) || 1;
  keep(table.tBodies[0], new Map(sorted.map(pair => [pair[0], pair])), copyOf("share-row"), (element, [name, row]) => {
    showFigures(element, row, {[of]: name}, inFull(name));
    setBar(element, row[measure] / most);
  });
  sayIfEmpty(table, "Nothing in these days.");
}
