/** Dialogs: a key's terms, a new secret, and what is asked before a key is changed. */
import {find, put} from "./elements.js";
import {showProblems} from "./forms.js";
import {keyNamed} from "./keys.js";
import {ask} from "./server.js";
import {openTerms, saveTerms} from "./terms.js";

export async function saveKey(form) {
  const {key, secret} = await saveTerms(form);
  if (secret) showSecret(key.name, secret);
}

function showSecret(name, secret) {
  put(find("secret-title"), `The new secret of ${name}`);
  put(find("copied"), "");
  find("secret").textContent = secret;
  find("use-curl").textContent = `curl ${location.origin}/api/generate -H 'X-API-Key: ${secret}' -H 'Content-Type: application/json' ` +
    `-d '{"prompt": "Hello"}'`;
  find("use-env").textContent = `export ANTHROPIC_BASE_URL=${location.origin} ANTHROPIC_AUTH_TOKEN=${secret}`;
  find("secret-dialog").showModal();
}

export const forgetSecret = () => ["secret", "use-curl", "use-env"].forEach(id => find(id).replaceChildren());

/** Over plain HTTP a page has no clipboard: the text is selected for the keyboard instead. */
export async function copySecret({target}) {
  if (!target.dataset.copy) return;
  const text = find(target.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    put(find("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren(text);
    put(find("copied"), "Selected: copy it with your keyboard.");
  }
}

let confirmed = async () => {}; // what the open confirmation is about

export function actOnKey({target}) {
  const row = target.closest("tr");
  if (target.matches(".edit")) openTerms(keyNamed(row.dataset.key));
  if (target.matches(".revoke")) {
    askFirst("Revoke", row.dataset.key, "Whoever uses it is refused from now on. This cannot be undone. Its name stays " +
      "taken, until it is forgotten on the command line.", () => revoke(row));
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

/** Do what the open confirmation is about. */
export const confirm = () => confirmed();
