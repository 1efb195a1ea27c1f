/** The first question: is anything wrong? */
import {copyOf, fill, find, keep} from "./elements.js";
import {leadTo} from "./filters.js";
import {count, isoDay} from "./words.js";

const said = {keys: [], total: null, checks: null};
const WORDS = {spent: "budget spent", near_budget: "near their budget", limited: "refused for a limit", expires_soon: "expire soon"};

/** @param {{keys?: object[], total?: object, checks?: object}} news what was read of the keys, of today, of the server */
export function tell(news) {
  Object.assign(said, news);
  const rows = new Map([...ofServer(), ...ofToday(), ...ofKeys()].map(row => [row.id, row]));
  if (!rows.size && said.checks && said.total) rows.set("well", {id: "well", text: "Nothing is wrong.", kind: "good"});
  keep(find("status"), rows, copyOf("status-row"), (item, {text, kind, wanted}) => {
    fill(item, {text});
    item.dataset.kind = kind;
    leadTo(item.querySelector("a"), wanted);
  });
}

/** What is read of the server is read by anybody, and says 503 where something is ill. */
export async function readStatus(signal) {
  const answer = await fetch("/health", {cache: "no-store", signal});
  const {checks} = await answer.json();
  tell({checks});
}

const ofServer = () => Object.entries(said.checks ?? {}).filter(([, words]) => words !== "ok")
  .map(([part, words]) => ({id: part, text: `${part[0].toUpperCase()}${part.slice(1)}: ${words}`, kind: "bad"}));

function ofToday() {
  const {failed = 0, refused = 0} = said.total ?? {};
  const since = isoDay(Date.now());
  return [
    failed && {id: "failed", text: `${count(failed)} failed today`, kind: "bad", wanted: {outcome: "failed", since}},
    refused && {id: "refused", text: `${count(refused)} refused today`, kind: "near", wanted: {outcome: "refused", since}},
  ].filter(Boolean);
}

function ofKeys() {
  return said.keys.filter(({state}) => state in WORDS).slice(0, 20).map(({name, state}) => ({
    id: `key ${name}`, text: `${name}: ${WORDS[state].replace("their", "its").replace("expire ", "expires ")}`,
    kind: state === "spent" ? "bad" : "near", wanted: {key: name}}));
}
