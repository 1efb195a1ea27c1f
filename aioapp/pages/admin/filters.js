/** Which requests are shown: it stands in the address, so that it can be shared and gone back to. */
import {find} from "./elements.js";

const NAMES = ["key", "model", "outcome", "status", "error", "request_id", "since", "until", "cursor"];

/** @returns {Object<string, string>} */
export function filters() {
  const [place, query = ""] = location.hash.slice(1).split("?");
  if (place !== "requests") return {};
  return Object.fromEntries([...new URLSearchParams(query)].filter(([name, value]) => NAMES.includes(name) && value));
}

export const hrefOf = wanted => `#requests?${new URLSearchParams(wanted)}`;

/** Have an element that is a link lead to requests; without any, it is plain text. */
export function leadTo(link, wanted) {
  if (wanted) link.href = hrefOf(wanted); else link.removeAttribute("href");
}

/** What the address says, in the form. */
export function showFilters() {
  const wanted = filters();
  for (const control of find("filters").elements) if (control.name) control.value = wanted[control.name] ?? "";
}

/** What the form says, in the address: from its first page on. What the form has no field for stays. */
export function changeFilters() {
  const given = [...new FormData(find("filters"))].map(([name, value]) => [name, value.trim()]);
  const {cursor, ...wanted} = {...filters(), ...Object.fromEntries(given)};
  location.hash = hrefOf(Object.fromEntries(Object.entries(wanted).filter(([, value]) => value)));
}
