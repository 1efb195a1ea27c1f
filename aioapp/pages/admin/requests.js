/** Recent requests: a row each, and behind it the details. */
import {copyOf, fill, find, keep, sayIfEmpty} from "./elements.js";
import {ask} from "./server.js";
import {count, duration, exactly, inFull, kinds, moment, taken, timeFormat} from "./words.js";

const LATEST = 100; // requests shown

export async function readRequests(signal) {
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

export function toggleDetails({target}) {
  if (!target.matches(".more")) return;
  const details = target.closest("tbody").rows[1];
  details.hidden = !details.hidden;
  target.ariaExpanded = String(!details.hidden);
}
