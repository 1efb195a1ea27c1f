/**
 * The administration page: usage, keys and recent requests of this server, read again every ten seconds.
 *
 * The browser's cookie is the only credential, and no script can read it. Names, models, errors and prompts come from
 * strangers: they become text and attributes' values, never HTML. Rows are templates of admin.html, filled in; a
 * refresh changes what differs and leaves the rest, so that focus, scrolling and what is open stay where they are.
 * Days are calendar days of UTC, as the server counts them; times of day are the browser's. The shapes of figures, keys
 * and requests are in /openapi.json.
 */

/** @typedef {{loc: (string|number)[], msg: string}} Problem as the API's 422 has them */
/** @typedef {string | {text: string, title?: string, kind?: string, at?: string}} Words */

const EVERY = 10_000; // milliseconds between two refreshes
const PATIENCE = 15_000; // milliseconds that an answer may take
const LATEST = 100; // requests shown
const DAY = 86_400_000;
const NOTHING = {requests: 0, failed: 0, cancelled: 0, input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0, tokens: 0, cost_usd: 0, seconds: 0};

const find = id => document.getElementById(id);

// ---- the server

class Refusal extends Error {
  /** @param {{error?: string, detail?: string | Problem[]}} said */
  constructor(status, {error, detail}) {
    const rows = Array.isArray(detail) ? detail : [];
    super([error ?? (detail ? "" : `The server answered ${status}`), rows.length ? "" : detail].filter(Boolean).join(": "));
    this.rows = rows;
  }
}

/** Ask the server; a Refusal says why it did not do it. */
async function ask(path, {method = "GET", body, signal} = {}) {
  const answer = await fetch(path, {
    method, cache: "no-store", headers: body && {"Content-Type": "application/json"}, body: body && JSON.stringify(body),
    signal: AbortSignal.any([AbortSignal.timeout(PATIENCE), ...signal ? [signal] : []])});
  if (answer.status === 401) leave();
  const said = await answer.json().catch(() => null);
  if (answer.ok && said) return said;
  throw new Refusal(answer.status, said ?? {});
}

/** The session is over, and /admin is the login page now. A secret that is being shown may first be copied. */
function leave() {
  if (!find("secret-dialog").open) location.reload();
}

function reason(error) {
  if (error.name === "TimeoutError") return "The server takes too long to answer";
  return error instanceof TypeError ? "The server cannot be reached" : error.message.replace(/\.$/, "");
}

// ---- words

const number = options => new Intl.NumberFormat("en-US", options);
const whole = number({maximumFractionDigits: 0});
const short = number({notation: "compact", minimumSignificantDigits: 3, maximumSignificantDigits: 3});
const round = number({notation: "compact", maximumSignificantDigits: 3});
const cents = number({minimumFractionDigits: 2, maximumFractionDigits: 2});
const small = number({maximumSignificantDigits: 3});
const exact = number({maximumFractionDigits: 9});

/** $0.000364, $12.40, $1,204, $12.3M */
function money(usd) {
  if (usd === 0) return "$0";
  if (usd < 0.0995) return `$${small.format(usd)}`;
  if (usd < 999.995) return `$${cents.format(usd)}`;
  return `$${(usd < 999_999.5 ? whole : short).format(usd)}`;
}

const roundMoney = usd => money(usd).replace(/\.00$/, "");
const count = amount => (amount < 999_999.5 ? whole : short).format(amount);

/** @param {?number} seconds */
function duration(seconds) {
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

const isoDay = time => new Date(time).toISOString().slice(0, 10);
const dayFormat = new Intl.DateTimeFormat(undefined, {day: "numeric", month: "short", timeZone: "UTC"});
const dayName = day => dayFormat.format(new Date(day));
const dateFormat = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "short"});
const timeFormat = new Intl.DateTimeFormat(undefined, {month: "short", day: "numeric", hour: "numeric", minute: "2-digit",
  second: "2-digit"});

/** A time in the reader's own, and in UTC as its title. @returns {Words} */
function moment(at, format) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return {text: format.format(date), title: date.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC"), at};
}

/** Tokens that went in, however they are priced. */
const taken = of => of.input_tokens + of.cache_creation_input_tokens + of.cache_read_input_tokens;

const kinds = of => `${whole.format(of.input_tokens)} in, ${whole.format(of.cache_creation_input_tokens)} written to the ` +
  `cache, ${whole.format(of.cache_read_input_tokens)} read from it, ${whole.format(of.output_tokens)} out`;

const exactly = usd => ({text: money(usd), title: `$${exact.format(usd)}`});

/** What may be cut on the page is whole in its title. */
const inFull = text => ({text, title: text});

/** The four figures of a row. */
const figures = of => ({
  cost: exactly(of.cost_usd),
  tokens: {text: count(of.tokens), title: kinds(of)},
  requests: {text: count(of.requests), title: whole.format(of.requests)},
  failed: {text: percent(of.failed, of.requests), kind: of.failed > 0.05 * of.requests ? "bad" : "",
    title: `${whole.format(of.failed)} failed, ${whole.format(of.cancelled)} cancelled`},
});

const MEASURES = {
  cost_usd: {name: "Cost", words: money, tick: roundMoney, step: 0},
  tokens: {name: "Tokens", words: count, tick: round.format, step: 1},
  requests: {name: "Requests", words: count, tick: round.format, step: 1},
};

// ---- putting words on the page

/** @param {Words} words */
function put(element, words) {
  const {text, title = "", kind = "", at} = typeof words === "string" ? {text: words} : words;
  if (element.textContent !== text) element.textContent = text;
  if (element.title !== title) element.title = title;
  if (at) element.dateTime = at;
  element.dataset.kind = kind;
}

/** Put words into what is marked `data-of` within. @param {Object<string, Words>} words */
function fill(root, words) {
  for (const [name, of] of Object.entries(words)) put(root.querySelector(`[data-of="${name}"]`), of);
}

/**
 * Make `parent` hold one element for each item, in their order; whoever was there before stays the same element.
 * @template T @param {Map<string, T>} items @param {(element: HTMLElement, item: T) => void} show
 */
function keep(parent, items, make, show) {
  const there = new Map([...parent.children].filter(child => "id" in child.dataset).map(child => [child.dataset.id, child]));
  const focused = document.activeElement;
  for (const [id, child] of there) if (!items.has(id)) child.remove();
  let next = null; // from the end: what comes in at the top then moves nobody
  for (const [id, item] of [...items].reverse()) {
    const element = there.get(id) ?? make();
    element.dataset.id = id;
    show(element, item);
    if (!element.parentNode || element.nextElementSibling !== next) parent.insertBefore(element, next);
    next = element;
  }
  if (focused !== document.activeElement) focused.focus({preventScroll: true}); // it was moved
}

const copyOf = template => () => find(template).content.firstElementChild.cloneNode(true);

/** @param {?number} share from 0 to 1; null hides it */
function setBar(root, share) {
  root.querySelector(".track").hidden = share === null;
  root.querySelector(".bar").style.width = share ? `max(1px, ${100 * Math.min(share, 1)}%)` : "0";
  root.querySelector(".bar").classList.toggle("full", share >= 1);
}

/** Say in a table without rows that it has none. */
function sayIfEmpty(table, words) {
  const empty = !table.querySelector("[data-id]:not([hidden])");
  table.tHead.hidden = empty;
  if (empty) put(table.createCaption(), words); else table.deleteCaption();
}

// ---- refreshing

let timer = 0;
let running = new AbortController();

/** Read everything again. A later refresh takes over from one that is under way. */
async function refresh() {
  clearTimeout(timer);
  running.abort();
  const {signal} = running = new AbortController();
  const ends = await Promise.allSettled([readUsage(signal), readKeys(signal), readRequests(signal)]);
  if (signal.aborted) return;
  report(ends.find(end => end.status === "rejected")?.reason);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

/** @param {Error=} error */
function report(error) {
  put(find("banner"), error ? `${reason(error)}. What you see may be old; trying again every ${EVERY / 1000} seconds.` : "");
  if (!error) put(find("updated"), `Updated ${new Date().toLocaleTimeString()}`);
}

// ---- usage

/** What the server last said; `days` holds each day. */
const usage = {days: [], key: [], model: [], total: NOTHING};
const view = () => Object.fromEntries(new FormData(find("view")));

async function readUsage(signal) {
  const dates = {since: isoDay(Date.now() - (view().days - 1) * DAY), until: isoDay(Date.now())};
  const [day, key, model] = await Promise.all(["day", "key", "model"].map(
    by => ask(`/admin/usage?${new URLSearchParams({by, ...dates})}`, {signal})));
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

function showUsage() {
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

// ---- the chart by day

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

function drawDays() {
  const svg = find("by-day");
  if (!svg.clientWidth || !usage.days.length) return;
  const {measure} = view();
  const ticks = ticksTo(Math.max(...usage.days.map(row => row[measure])), MEASURES[measure].step);
  const labels = ticks.map(MEASURES[measure].tick);
  const place = layOut(svg, labels, ticks.at(-1));
  svg.replaceChildren(...drawScale(place, ticks, labels), ...drawDates(place), ...drawBars(place, measure));
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
    return drawn("rect", {x: x(i) - width / 2, width, y: bottom - height, height, class: "day"});
  });
}

/** The chart in a sentence: for who cannot see it, and above it while nothing is pointed at. */
function summary() {
  const {measure} = view();
  const {name, words} = MEASURES[measure];
  const top = usage.days.reduce((best, row) => row[measure] > best[measure] ? row : best);
  return `${name} from ${dayName(usage.days[0].day)} to ${dayName(usage.days.at(-1).day)} (UTC): ` +
    (top[measure] ? `at most ${words(top[measure])}, on ${dayName(top.day)}` : "none");
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
function pointAt({type, pointerType, clientX}) {
  if (type === "pointerleave" && pointerType === "touch") return;
  const bars = [...find("by-day").querySelectorAll(".day")];
  const under = bars.findLastIndex(bar => bar.getBoundingClientRect().x <= clientX);
  if (bars.length) point(type === "pointerleave" ? -1 : under);
}

// ---- keys

async function readKeys(signal) {
  const {keys} = await ask("/admin/keys", {signal});
  const spent = await readSpent(keys, signal);
  const order = ["active", "expired", "revoked"];
  keys.sort((one, other) => order.indexOf(one.state) - order.indexOf(other.state) || one.name.localeCompare(other.name));
  keep(find("keys").tBodies[0], new Map(keys.map(key => [key.name, key])), copyOf("key-row"),
    (row, key) => showKey(row, key, spent[key.budget?.per]?.get(key.name) ?? 0));
  keep(find("request-key"), new Map(keys.map(key => [key.name, key.name])), () => new Option(),
    (option, name) => Object.assign(option, {text: name, value: name}));
  narrowKeys();
}

/** What each key has spent this day and month (of UTC), asked only for the periods that some budget has. */
async function readSpent(keys, signal) {
  const today = isoDay(Date.now());
  const spent = {};
  for (const per of new Set(keys.flatMap(key => key.budget?.per ?? []))) {
    const since = per === "day" ? today : `${today.slice(0, 8)}01`;
    const {rows} = await ask(`/admin/usage?${new URLSearchParams({by: "key", since, until: today})}`, {signal});
    spent[per] = new Map(rows.map(row => [row.key, row.cost_usd]));
  }
  return spent;
}

/** @param {number} spent dollars in its budget's period */
function showKey(row, key, spent) {
  Object.assign(row.dataset, {key: key.name, state: key.state});
  const none = text => ({text, kind: "none"});
  fill(row, {
    name: {text: key.name, title: `Created ${moment(key.created_at, dateFormat).title}`},
    admin: key.admin ? "admin" : "",
    state: key.revoked_at ? {...moment(key.revoked_at, dateFormat), text: key.state} : key.state,
    limits: limitsOf(key) || none("none"),
    budget: key.budget ? `${money(spent)} of ${roundMoney(key.budget.usd)} a ${key.budget.per}` : none("none"),
    models: key.models.some(pattern => pattern !== "*") ? key.models.join(", ") : none("all"),
    expires: key.expires_at ? moment(key.expires_at, dateFormat) : none("never"),
  });
  setBar(row, key.budget && (key.budget.usd ? spent / key.budget.usd : 1));
  row.querySelector(".rotate").hidden = key.state !== "active";
  row.querySelector(".revoke").hidden = key.state === "revoked";
  for (const button of row.querySelectorAll("button")) button.ariaLabel = `${button.textContent} ${key.name}`;
}

function limitsOf({limits}) {
  const units = {requests_per_minute: "requests/min", tokens_per_minute: "tokens/min", concurrency: "at once"};
  const given = Object.entries(units).filter(([name]) => typeof limits[name] === "number");
  return given.map(([name, unit]) => `${count(limits[name])} ${unit}`).join(", ");
}

/** Show the keys that have in their names what is looked for. */
function narrowKeys() {
  const wanted = find("find-key").value.trim().toLowerCase();
  for (const row of find("keys").tBodies[0].rows) row.hidden = !row.dataset.key.toLowerCase().includes(wanted);
  sayIfEmpty(find("keys"), wanted ? "No key has this in its name." : "No keys.");
}

// ---- recent requests

async function readRequests(signal) {
  const key = find("request-key").value;
  const {requests} = await ask(`/admin/requests?${new URLSearchParams({limit: LATEST, ...key && {key}})}`, {signal});
  const rows = new Map();
  for (const request of requests) {
    let id = `${request.at} ${request.request_id}`;
    while (rows.has(id)) id += "'"; // callers choose the request ids, and may choose the same
    rows.set(id, request);
  }
  keep(find("requests"), rows, copyOf("request-rows"), showRequest);
  sayIfEmpty(find("requests"), "No requests.");
}

/** @param {HTMLElement} rows a tbody: the request, and its details */
function showRequest(rows, request) {
  fill(rows, {
    at: moment(request.at, timeFormat),
    key: inFull(request.key ?? "anonymous"),
    model: inFull(request.model),
    outcome: {text: request.outcome, title: request.error ?? "", kind: request.outcome === "failed" ? "bad" : ""},
    in: count(taken(request)),
    out: count(request.output_tokens),
    cost: exactly(request.cost_usd),
    first: duration(request.first_seconds),
    seconds: duration(request.seconds),
    error: request.error ?? "",
    id: request.request_id,
    stop: request.stop_reason ?? "",
    kinds: kinds(request),
    prompt: request.prompt ?? "",
  });
}

function toggleDetails({target}) {
  if (!target.matches(".more")) return;
  const details = target.closest("tbody").rows[1];
  details.hidden = !details.hidden;
  target.ariaExpanded = String(!details.hidden);
}

// ---- forms in dialogs

/** Do what a form is for, once at a time, and look at the server again; or say in the form why it cannot be done. */
async function attempt(form, act) {
  if (form.dataset.busy) return;
  form.dataset.busy = "yes";
  showProblems(form, []);
  try {
    await act();
    refresh();
  } catch (error) {
    showProblems(form, error.rows?.length ? error.rows : [{loc: [], msg: `${reason(error)}.`}]);
  } finally {
    delete form.dataset.busy;
  }
}

/** Put each problem at its field, or at the form. @param {Problem[]} problems */
function showProblems(form, problems) {
  for (const place of form.querySelectorAll(".problem")) put(place, "");
  for (const control of form.querySelectorAll("[aria-invalid]")) control.ariaInvalid = null;
  for (const {loc, msg} of problems) {
    const path = loc.slice(1);
    const control = form.elements.namedItem(path.join(".")) ?? form.elements.namedItem(path[0] ?? "");
    if (control) control.ariaInvalid = "true";
    const place = (control?.closest(".field") ?? form).querySelector(control ? ".problem" : "[data-problem]");
    put(place, [place.textContent, control ? msg : [...path, msg].join(": ")].filter(Boolean).join(" "));
  }
  form.querySelector("[aria-invalid]")?.focus();
  form.querySelector("[data-problem]:not(:empty)")?.scrollIntoView({block: "nearest"});
}

/** The key that the form asks for. What is no number goes as it is: the API says what is wrong with it. */
function asked(form) {
  const {name, models, expires_at, admin, "budget.per": per, ...numbers} = Object.fromEntries(new FormData(form));
  const given = Object.entries(numbers).filter(([, text]) => text.trim())
    .map(([field, text]) => [field, Number.isFinite(Number(text)) ? Number(text) : text]);
  const {"budget.usd": usd, ...limits} = Object.fromEntries(given);
  const patterns = models.split(/[\s,]+/).filter(Boolean);
  return {
    name: name.trim(), ...limits, admin: Boolean(admin),
    ...usd !== undefined && {budget: {usd, per}},
    ...patterns.length && {models: patterns},
    ...expires_at && {expires_at: new Date(expires_at).toISOString()},
  };
}

async function createKey(form) {
  if (form.elements.namedItem("expires_at").validity.badInput) {
    throw new Refusal(422, {detail: [{loc: ["body", "expires_at"], msg: "A date and a time are needed."}]});
  }
  const {key, secret} = await ask("/admin/keys", {method: "POST", body: asked(form)});
  find("create").close();
  form.reset();
  showSecret(key.name, secret);
}

function showSecret(name, secret) {
  put(find("secret-title"), `The new secret of ${name}`);
  put(find("copied"), "");
  find("secret").textContent = secret;
  find("secret-dialog").showModal();
}

const forgetSecret = () => find("secret").replaceChildren();

/** Over plain HTTP a page has no clipboard: the text is selected for the keyboard instead. */
async function copySecret() {
  try {
    await navigator.clipboard.writeText(find("secret").textContent);
    put(find("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren(find("secret"));
    put(find("copied"), "Selected: copy it with your keyboard.");
  }
}

let confirmed = async () => {}; // what the open confirmation is about

function actOnKey({target}) {
  const row = target.closest("tr");
  if (target.matches(".revoke")) {
    askFirst("Revoke", row.dataset.key, "Whoever uses it is refused from now on. This cannot be undone, and no other key " +
      "can get this name.", () => revoke(row));
  }
  if (target.matches(".rotate")) {
    askFirst("Rotate", row.dataset.key, "The key gets a new secret, which is shown once.", () => rotate(row.dataset.key));
  }
}

function askFirst(deed, name, text, act) {
  put(find("confirm-title"), `${deed} ${name}?`);
  put(find("confirm-text"), text);
  put(find("confirm-yes"), deed);
  find("grace-field").hidden = deed !== "Rotate";
  find("confirm-form").reset();
  showProblems(find("confirm-form"), []);
  confirmed = act;
  find("confirm").showModal();
}

async function revoke(row) {
  await ask(`/admin/keys/${encodeURIComponent(row.dataset.key)}`, {method: "DELETE"});
  find("confirm").close();
  row.focus(); // the button that had the focus is about to go
}

async function rotate(name) {
  const body = {grace_seconds: Number(find("grace").value)};
  const {secret} = await ask(`/admin/keys/${encodeURIComponent(name)}/rotate`, {method: "POST", body});
  find("confirm").close();
  showSecret(name, secret);
}

// ---- start

function on(id, heard) {
  for (const [event, hear] of Object.entries(heard)) find(id).addEventListener(event, hear);
}

function submitted(act) {
  return event => {
    event.preventDefault();
    attempt(event.target, () => act(event.target));
  };
}

on("view", {change: ({target}) => target.name === "measure" ? showUsage() : refresh()});
on("by-day", {pointermove: pointAt, pointerdown: pointAt, pointerleave: pointAt});
on("find-key", {input: narrowKeys});
on("keys", {click: actOnKey});
on("request-key", {change: refresh});
on("requests", {click: toggleDetails});
on("new-key", {click: () => find("create").showModal()});
on("create-key", {submit: submitted(createKey)});
on("create-cancel", {click: () => find("create").close()});
on("confirm-form", {submit: submitted(() => confirmed())});
on("confirm-no", {click: () => find("confirm").close()});
on("secret-copy", {click: copySecret});
on("secret-close", {click: () => find("secret-dialog").close()});
on("secret-dialog", {close: forgetSecret, cancel: event => event.preventDefault()}); // Escape by mistake would lose it
addEventListener("pagehide", forgetSecret);
document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : refresh());
new ResizeObserver(drawDays).observe(find("by-day"));
refresh();
