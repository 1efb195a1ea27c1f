/** The server: asked, and refusing. The browser's cookie is the only credential. */
import {find} from "./elements.js";

/** @typedef {{loc: (string|number)[], msg: string}} Problem as the API's 422 has them */

const PATIENCE = 15_000; // milliseconds that an answer may take

export class Refusal extends Error {
  /** @param {{error?: string, detail?: string | Problem[]}} said */
  constructor(status, {error, detail}) {
    const rows = Array.isArray(detail) ? detail : [];
    super([error ?? (detail ? "" : `The server answered ${status}`), rows.length ? "" : detail].filter(Boolean).join(": "));
    this.rows = rows;
  }
}

/** Ask the server; a Refusal says why it did not do it. */
export async function ask(path, {method = "GET", body, signal} = {}) {
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

export function reason(error) {
  if (error.name === "TimeoutError") return "The server takes too long to answer";
  return error instanceof TypeError ? "The server cannot be reached" : error.message.replace(/\.$/, "");
}
