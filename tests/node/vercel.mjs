// Vercel's AI SDK: node vercel.mjs URL KEY STEP, which prints one JSON object.
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, isStepCount, streamText, tool } from "ai";
import { z } from "zod";

const [url, key, step] = process.argv.slice(2);
const ask = (prompt, { model = "claude-sonnet-5-5", apiKey = key, ...more } = {}) => ({
  model: createAnthropic({ baseURL: `${url}/v1`, apiKey })(model), prompt, maxRetries: 0, onError() {}, ...more,
});

async function failure(asking) {
  try {
    await asking();
  } catch (error) {
    return { status: error.statusCode, message: error.message, again: error.isRetryable };
  }
}

async function streamed(asked) {
  const parts = [];
  for await (const part of streamText(asked).fullStream) parts.push(part);
  return parts;
}

const textOf = (parts) => parts.filter((part) => part.type === "text-delta").map((part) => part.text).join("");

const steps = {
  async texts() {
    const { text, usage } = await generateText(ask("Please count to 5."));
    return { whole: text, streamed: textOf(await streamed(ask("Please count to 5."))), tokens: usage.inputTokens };
  },
  async tool() {
    const cities = [];
    const weather = tool({
      description: "The weather in a city.", inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => { cities.push(city); return "sun"; },
    });
    const asked = ask('How is it there? [use weather {"city": "Köln"}]', { tools: { weather }, stopWhen: isStepCount(3) });
    const parts = await streamed(asked);
    return { cities, said: [(await generateText(asked)).text, textOf(parts)] };
  },
  async failures() {
    const parts = await streamed(ask("Hi", { model: "simulate-error" }));
    return {
      wrong: await failure(() => generateText(ask("Hi", { apiKey: "wrong" }))),
      forbidden: await failure(() => generateText(ask("Hi", { model: "claude-haiku-5-5" }))),
      overloaded: await failure(() => generateText(ask("Hi", { model: "simulate-529" }))),
      broken: parts.filter((part) => part.type === "error").map(({ error }) => error.message ?? String(error)),
    };
  },
};

console.log(JSON.stringify(await steps[step]()));
