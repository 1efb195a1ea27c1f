/** Forms: each is sent once at a time, and says at its fields what is wrong. */
import {put} from "./elements.js";
import {refresh} from "./refresh.js";
import {reason} from "./server.js";

/** Do what a form is for, once at a time, and look at the server again; or say in the form why it cannot be done. */
export async function attempt(form, act) {
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
export function showProblems(form, problems) {
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
