/** Recent requests: a row each, and behind it the details. */
import {copyOf, fill, find, keep, put, sayIfEmpty} from "./elements.js";
import {filters, hrefOf, leadTo} from "./filters.js";
import {ask} from "./server.js";
import {ago, count, duration, exactly, inFull, kinds, taken} from "./words.js";

const LATEST = 100; // requests on a page
const TRANSPORTS = {rest: "REST", sse: "SSE", websocket: "WS"};
export const REASONS = {
  requests_per_minute: "more requests a minute than its limit", tokens_per_minute: "more tokens a minute than its limit",
  concurrency: "more at once than its limit", budget: "its budget is spent", over_tokens_per_minute: "alone more than its tokens a minute",
  over_budget: "alone more than its budget", unbounded: "a strict budget cannot say what it costs", model: "a model that it may not use",
  access: "not an administrator", expired: "it has expired", revoked: "it was revoked", replaced: "its secret was replaced",
};

export async function readRequests(signal) {
  const wanted = filters();
  const {requests, next} = await ask(`/admin/requests?${new URLSearchParams({limit: LATEST, ...wanted})}`, {signal});
  const rows = new Map();
  for (const request of requests) {
    let id = `${request.at} ${request.request_id}`;
    while (rows.has(id)) id += "'"; // callers choose the request ids, and may choose the same
    rows.set(id, request);
  }
  keep(find("requests"), rows, copyOf("request-rows"), showRequest);
  sayIfEmpty(find("requests"), "No requests.");
  const {cursor, ...others} = wanted;
  leadTo(find("older"), next && {...others, cursor: next});
  find("older").hidden = !next;
  find("newest").href = hrefOf(others);
  find("newest").hidden = !cursor;
}

/** @param {HTMLElement} rows a tbody: the request, and its details */
function showRequest(rows, request) {
  const how = [TRANSPORTS[request.transport], request.status].filter(Boolean).join(" ");
  const key = request.key ?? "anonymous";
  const why = request.outcome === "refused" ? REASONS[request.error] ?? request.error : request.error ?? "";
  fill(rows, {
    at: ago(request.at),
    key: inFull(key),
    model: inFull(request.model || "–"),
    outcome: {text: request.outcome, title: why, kind: request.outcome === "failed" ? "bad" : ""},
    how,
    in: count(taken(request)),
    out: count(request.output_tokens),
    cost: exactly(request.cost_usd),
    first: duration(request.first_seconds),
    seconds: duration(request.seconds),
    error: why,
    id: request.request_id,
    stop: request.stop_reason ?? "",
    kinds: kinds(request),
    prompt: request.prompt ?? "",
  });
  leadTo(rows.querySelector('[data-of="key"]'), {key});
  leadTo(rows.querySelector('[data-of="model"]'), request.model && {model: request.model});
}

export async function actOnRequest({target}) {
  if (target.matches(".copy-id")) {
    const id = target.closest("dd").querySelector('[data-of="id"]');
    try {
      await navigator.clipboard.writeText(id.textContent);
      put(target, "Copied");
    } catch {
      getSelection().selectAllChildren(id); // over plain HTTP a page has no clipboard
    }
  }
  if (!target.matches(".more")) return;
  const details = target.closest("tbody").rows[1];
  details.hidden = !details.hidden;
  target.ariaExpanded = String(!details.hidden);
}
