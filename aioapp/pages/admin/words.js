/** Amounts, times and figures in words. Days are calendar days of UTC; times of day are the browser's. */

export const DAY = 86_400_000; // milliseconds

const number = options => new Intl.NumberFormat("en-US", options);
export const whole = number({maximumFractionDigits: 0});
const short = number({notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3});
const round = number({notation: "compact", maximumSignificantDigits: 3});
const cents = number({minimumFractionDigits: 2, maximumFractionDigits: 2});
const small = number({maximumSignificantDigits: 3});
const exact = number({maximumFractionDigits: 9});

/** $0.000364, $12.40, $1,204, $12.3M */
export function money(usd) {
  if (usd === 0) return "$0";
  if (usd < 0.0995) return `$${small.format(usd)}`;
  if (usd < 999.995) return `$${cents.format(usd)}`;
  return `$${(usd < 999_999.5 ? whole : short).format(usd)}`;
}

export const roundMoney = usd => money(usd).replace(/\.00$/, "");
export const count = amount => (amount < 999_999.5 ? whole : short).format(amount);

/** @param {?number} seconds */
export function duration(seconds) {
  if (typeof seconds !== "number") return "–";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(Math.round(seconds) / 60)} min ${Math.round(seconds) % 60} s`;
}

function percent(part, all) {
  const share = 100 * part / all;
  if (!all || share === 0) return all ? "0 %" : "–";
  return share < 0.1 ? "< 0.1 %" : `${share.toFixed(share < 10 ? 1 : 0)} %`;
}

export const isoDay = time => new Date(time).toISOString().slice(0, 10);
const dayFormat = new Intl.DateTimeFormat(undefined, {day: "numeric", month: "short", timeZone: "UTC"});
export const dayName = day => dayFormat.format(new Date(day));
export const dateFormat = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});
export const timeFormat = new Intl.DateTimeFormat(undefined, {month: "short", day: "numeric", hour: "numeric", minute: "2-digit",
  second: "2-digit"});

/** A time in the reader's own, and in UTC as its title. @returns {Words} */
export function moment(at, format) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return {text: format.format(date), title: date.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC"), at};
}

const lastDayFormat = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeZone: "UTC"});

/** When a key ends: its last day, in UTC, where it is one. @returns {Words} */
export function ending(at) {
  const date = new Date(at);
  const midnight = date.getTime() % 86_400_000 === 0;
  const last = midnight ? new Date(date.getTime() - 1000) : date;
  const words = moment(at, dateFormat);
  return last.getTime() % 86_400_000 === 86_399_000 ? {...words, text: lastDayFormat.format(last)} : words;
}

const since = new Intl.RelativeTimeFormat("en", {numeric: "auto"});
const AGES = [["day", DAY], ["hour", 3_600_000], ["minute", 60_000], ["second", 1000]];

/** How long ago it was, with the time itself as its title. @returns {Words} */
export function ago(at) {
  const age = Date.now() - Date.parse(at);
  const [unit, length] = AGES.find(([, length]) => age >= length) ?? ["second", 1000];
  const exact = moment(at, timeFormat);
  return typeof exact === "string" ? exact : {...exact, text: since.format(-Math.floor(age / length), unit), title: `${exact.text}, ${exact.title}`};
}

/** Tokens that went in, however they are priced. */
export const taken = of => of.input_tokens + of.cache_creation_input_tokens + of.cache_read_input_tokens;

export const kinds = of => `${whole.format(of.input_tokens)} in, ${whole.format(of.cache_creation_input_tokens)} written to the ` +
  `cache, ${whole.format(of.cache_read_input_tokens)} read from it, ${whole.format(of.output_tokens)} out`;

export const exactly = usd => ({text: money(usd), title: `$${exact.format(usd)}`});

/** What a row cost, marked where the price list does not have its model. */
const cost = of => of.guessed ? {text: `≈ ${money(of.cost_usd)}`, title: `$${exact.format(of.cost_usd)}, guessed: the price list ` +
  "does not have this model, so it is charged the most that any ever cost"} : exactly(of.cost_usd);

/** What may be cut on the page is whole in its title. */
export const inFull = text => ({text, title: text});

/** The four figures of a row. */
export const figures = of => ({
  cost: cost(of),
  tokens: {text: count(of.tokens), title: kinds(of)},
  requests: {text: count(of.requests), title: whole.format(of.requests)},
  failed: {text: percent(of.failed, of.requests), kind: of.failed > 0.05 * of.requests ? "bad" : "",
    title: `${whole.format(of.failed)} failed, ${whole.format(of.cancelled)} cancelled`},
});

export const MEASURES = {
  cost_usd: {name: "Cost", words: money, tick: roundMoney, step: 0},
  tokens: {name: "Tokens", words: count, tick: round.format, step: 1},
  requests: {name: "Requests", words: count, tick: round.format, step: 1},
};
