/** What the page shows: what the server last said of usage, and how the reader wants to see it. */
import {find} from "./elements.js";

export const NOTHING = {requests: 0, failed: 0, cancelled: 0, input_tokens: 0, output_tokens: 0, cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0, tokens: 0, cost_usd: 0, seconds: 0, refused: 0};

/** What the server last said; `days` holds each day, `parts` its rows by key or model, whichever `of` says. */
export const usage = {days: [], key: [], model: [], parts: [], of: "model", total: NOTHING};
export const view = () => Object.fromEntries(new FormData(find("view")));
