/** Everything is read again every ten seconds, while somebody looks. */
import {find, put} from "./elements.js";
import {readKeys} from "./keys.js";
import {readRequests} from "./requests.js";
import {reason} from "./server.js";
import {readStatus} from "./status.js";
import {readUsage} from "./usage.js";

const EVERY = 10_000; // milliseconds between two refreshes

let timer = 0;
let running = new AbortController();

/** Read everything again. A later refresh takes over from one that is under way. */
export async function refresh() {
  clearTimeout(timer);
  running.abort();
  const {signal} = running = new AbortController();
  const ends = await Promise.allSettled([readUsage(signal), readKeys(signal), readRequests(signal), readStatus(signal)]);
  if (signal.aborted) return;
  report(ends.find(end => end.status === "rejected")?.reason);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

/** @param {Error=} error */
function report(error) {
  put(find("banner"), error ? `${reason(error)}. What you see may be old; trying again every ${EVERY / 1000} seconds.` : "");
  if (!error) put(find("updated"), `Updated ${new Date().toLocaleTimeString()}`);
}

/** Read nothing until it is asked for. */
export const rest = () => clearTimeout(timer);
