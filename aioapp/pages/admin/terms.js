/** The form of a key's terms: for a new key, or for one that is there. */
import {find, put} from "./elements.js";
import {showProblems} from "./forms.js";
import {Refusal, ask} from "./server.js";

const DAY = 86_400_000; // milliseconds
/** Terms to begin with. A month's budget and an agent's tokens are amounts that few will not want to change. */
const PRESETS = {
  app: {requests_per_minute: 60, tokens_per_minute: 100_000, concurrency: 10, "budget.usd": 50, "budget.per": "month"},
  person: {tokens_per_minute: 500_000, concurrency: 8, "budget.usd": 20, "budget.per": "day"},
  ci: {requests_per_minute: 30, concurrency: 4, "budget.usd": 5, "budget.per": "day", days: 90},
  trial: {requests_per_minute: 10, concurrency: 2, "budget.usd": 1, "budget.per": "day", days: 14},
};

let edited = null; // the name of the key that the form changes, and the terms that it had then; null: it makes a key

/** Open the form, for a new key without one. */
export function openTerms(key = null) {
  const form = find("create-key");
  if (key || edited) form.reset();
  showProblems(form, []);
  form.elements.namedItem("name").closest(".field").hidden = find("preset-field").hidden = Boolean(key);
  put(find("create-title"), key ? `Edit ${key.name}` : "New key");
  put(find("create-yes"), key ? "Save" : "Create key");
  if (key) fillIn(form, key);
  edited = key && {name: key.name, terms: termsIn(form)};
  find("create").showModal();
}

/** Fill in what suits the use that was chosen. */
export function fillPreset({target}) {
  const {days, ...terms} = PRESETS[target.value] ?? {};
  const empty = {requests_per_minute: "", tokens_per_minute: "", concurrency: "", "budget.usd": "", "budget.per": "month"};
  for (const [name, value] of Object.entries({...empty, ...terms})) target.form.elements.namedItem(name).value = value;
  target.form.elements.namedItem("expires_at").value = days ? localMinute(Date.now() + days * DAY) : "";
}

function fillIn(form, {limits, budget, models, expires_at, note, owner, admin}) {
  const texts = {
    ...limits, "budget.usd": budget?.usd, "budget.per": budget?.per ?? "month", expires_at: expires_at && localMinute(expires_at),
    models: models.some(pattern => pattern !== "*") ? models.join(", ") : "", note, owner};
  for (const [name, text] of Object.entries(texts)) form.elements.namedItem(name).value = text ?? "";
  form.elements.namedItem("budget.strict").checked = Boolean(budget?.strict);
  form.elements.namedItem("admin").checked = admin;
}

/** As `datetime-local` has it. */
function localMinute(at) {
  const date = new Date(at);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** All terms that the form says; null is none. What is no number goes as it is: the API says what is wrong with it. */
function termsIn(form) {
  const {models, expires_at, note, owner, admin, "budget.usd": usd, "budget.per": per, "budget.strict": strict, name, ...limits} =
    Object.fromEntries(new FormData(form));
  const patterns = models.split(/[\s,]+/).filter(Boolean);
  return {
    ...Object.fromEntries(Object.entries(limits).map(([limit, text]) => [limit, numberIn(text)])),
    budget: usd.trim() || strict ? {usd: numberIn(usd), per, strict: Boolean(strict)} : null,
    models: patterns.length ? patterns : null,
    expires_at: expires_at ? new Date(expires_at).toISOString() : null,
    note: note.trim() || null,
    owner: owner.trim() || null,
    admin: Boolean(admin),
  };
}

function numberIn(text) {
  if (!text.trim()) return null;
  return Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Make the key, or change of it what was changed in the form. Gives the API's answer. */
export async function saveTerms(form) {
  if (form.elements.namedItem("expires_at").validity.badInput) {
    throw new Refusal(422, {detail: [{loc: ["body", "expires_at"], msg: "A date and a time are needed."}]});
  }
  const said = edited ? await change(edited, termsIn(form)) : await create(form);
  find("create").close();
  form.reset();
  return said;
}

function create(form) {
  const given = {name: form.elements.namedItem("name").value.trim(), ...termsIn(form)};
  const body = JSON.parse(JSON.stringify(given, (_, value) => value ?? undefined));
  return ask("/admin/keys", {method: "POST", body});
}

/** What is as it was is not sent: another administrator may have changed it meanwhile. */
function change({name, terms}, now) {
  const other = Object.entries(now).filter(([term, value]) => JSON.stringify(value) !== JSON.stringify(terms[term]));
  return ask(`/admin/keys/${encodeURIComponent(name)}`, {method: "PATCH", body: Object.fromEntries(other)});
}
