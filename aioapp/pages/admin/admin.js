/**
 * The administration page: usage, keys and recent requests of this server, read again every ten seconds.
 *
 * The browser's cookie is the only credential, and no script can read it. Names, models, errors and prompts come from
 * strangers: they become text and attributes' values, never HTML. Rows are templates of admin.html, filled in; a
 * refresh changes what differs and leaves the rest, so that focus, scrolling and what is open stay where they are.
 * Days are calendar days of UTC, as the server counts them; times of day are the browser's. The shapes of figures, keys
 * and requests are in /openapi.json.
 */
import {drawDays, pointAt} from "./chart.js";
import {actOnKey, confirm, copySecret, forgetSecret, saveKey} from "./dialogs.js";
import {find} from "./elements.js";
import {changeFilters, showFilters} from "./filters.js";
import {attempt} from "./forms.js";
import {narrowKeys, showKeys} from "./keys.js";
import {refresh, rest} from "./refresh.js";
import {actOnRequest} from "./requests.js";
import {chooseOrder} from "./sorting.js";
import {fillPreset, openTerms} from "./terms.js";
import {showUsage} from "./usage.js";

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
on("keys", {click: event => chooseOrder(event) ? showKeys() : actOnKey(event)});
for (const table of ["by-key", "by-model"]) on(table, {click: event => chooseOrder(event) && showUsage()});
on("filters", {change: changeFilters, submit: event => event.preventDefault()});
on("requests", {click: actOnRequest});
on("new-key", {click: () => openTerms()});
on("create-key", {submit: submitted(saveKey)});
on("create-cancel", {click: () => find("create").close()});
on("confirm-form", {submit: submitted(confirm)});
on("confirm-no", {click: () => find("confirm").close()});
on("preset", {change: fillPreset});
on("secret-close", {click: () => find("secret-dialog").close()});
on("secret-dialog", {click: copySecret, close: forgetSecret, cancel: event => event.preventDefault()}); // Escape by mistake would lose it
addEventListener("pagehide", forgetSecret);
document.addEventListener("visibilitychange", () => document.hidden ? rest() : refresh());
addEventListener("hashchange", () => {
  showFilters();
  refresh();
  if (location.hash.startsWith("#requests")) find("requests-title").scrollIntoView();
});
new ResizeObserver(drawDays).observe(find("by-day"));
refresh();
