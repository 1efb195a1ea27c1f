/** Keys: a row each, with what it may and what it has spent. */
import {copyOf, fill, find, keep, sayIfEmpty, setBar} from "./elements.js";
import {leadTo, showFilters} from "./filters.js";
import {ask} from "./server.js";
import {inOrder} from "./sorting.js";
import {tell} from "./status.js";
import {count, dateFormat, ending, inFull, moment, money, roundMoney} from "./words.js";

const known = new Map(); // the keys that the page shows, by name

const STATES = ["spent", "limited", "near_budget", "expires_soon", "active", "expired", "revoked"];
const VALUES = {
  name: key => key.name,
  state: key => STATES.indexOf(key.state),
  spent: key => key.budget ? key.spent_usd / key.budget.usd : -1,
  expires: key => key.expires_at ? Date.parse(key.expires_at) : 8.64e15, // the last time that there is
  used: key => key.last_used_at ? Date.parse(key.last_used_at) : 0,
};

export const keyNamed = name => known.get(name);

export async function readKeys(signal) {
  const {keys} = await ask("/admin/keys", {signal});
  keys.sort((one, other) => one.name.localeCompare(other.name));
  known.clear();
  for (const key of keys) known.set(key.name, key);
  showKeys();
  keep(find("request-key"), new Map(keys.map(key => [key.name, key.name])), () => new Option(),
    (option, name) => Object.assign(option, {text: name, value: name}));
  showFilters();
  narrowKeys();
  tell({keys});
}

export function showKeys() {
  const rows = inOrder(find("keys"), [...known.values()], VALUES, {by: "state", down: false});
  keep(find("keys").tBodies[0], new Map(rows.map(key => [key.name, key])), copyOf("key-row"), showKey);
}

function showKey(row, key) {
  const state = key.state.replaceAll("_", " ");
  Object.assign(row.dataset, {key: key.name, state: key.state});
  const none = text => ({text, kind: "none"});
  fill(row, {
    name: {text: key.name, title: `Created ${moment(key.created_at, dateFormat).title}`},
    owner: inFull(key.owner ?? ""),
    note: inFull(key.note ?? ""),
    admin: key.admin ? "admin" : "",
    state: key.revoked_at ? {...moment(key.revoked_at, dateFormat), text: state} : state,
    limits: limitsOf(key) || none("none"),
    budget: budgetOf(key) || none("none"),
    models: key.models.some(pattern => pattern !== "*") ? key.models.join(", ") : none("all"),
    expires: key.expires_at ? ending(key.expires_at) : none("never"),
    used: key.last_used_at ? moment(key.last_used_at, dateFormat) : none("never"),
  });
  leadTo(row.querySelector('[data-of="name"]'), {key: key.name});
  setBar(row, key.budget && (key.budget.usd ? key.spent_usd / key.budget.usd : 1));
  row.querySelector(".edit").hidden = key.state === "revoked";
  row.querySelector(".rotate").hidden = ["expired", "revoked"].includes(key.state);
  row.querySelector(".revoke").hidden = key.state === "revoked";
  for (const button of row.querySelectorAll("button")) button.ariaLabel = `${button.textContent} ${key.name}`;
}

const budgetOf = ({budget, spent_usd}) =>
  budget && `${money(spent_usd)} of ${roundMoney(budget.usd)} a ${budget.per}${budget.strict ? ", strict" : ""}`;

function limitsOf({limits}) {
  const units = {requests_per_minute: "requests/min", tokens_per_minute: "tokens/min", concurrency: "at once"};
  const given = Object.entries(units).filter(([name]) => typeof limits[name] === "number");
  return given.map(([name, unit]) => `${count(limits[name])} ${unit}`).join(", ");
}

/** Show the keys that have in their names what is looked for. */
export function narrowKeys() {
  const wanted = find("find-key").value.trim().toLowerCase();
  for (const row of find("keys").tBodies[0].rows) row.hidden = !row.dataset.key.toLowerCase().includes(wanted);
  sayIfEmpty(find("keys"), wanted ? "No key has this in its name." : "No keys.");
}
