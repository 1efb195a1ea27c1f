// Anthropic's SDK: node anthropic.mjs URL KEY STEP, which prints one JSON object.
import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

const [baseURL, apiKey, step] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const asked = (content, model = "claude-sonnet-5-5") => ({ model, max_tokens: 400, messages: [{ role: "user", content }] });
const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

const inputSchema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = (cities) => betaTool({
  name: "weather", description: "The weather in a city.", inputSchema,
  run: async ({ city }) => { cities.push(city); return "sun"; },
});

async function failure(asking) {
  try {
    await asking();
  } catch (error) {
    return { name: error.constructor.name, status: error.status, type: error.type, message: error.error?.error?.message };
  }
}

const steps = {
  async texts() {
    const stream = client.messages.stream(asked("Please count to 5."));
    let streamed = "";
    stream.on("text", (text) => { streamed += text; });
    const last = await stream.finalMessage();
    const whole = await client.messages.create(asked("Please count to 5."));
    const { input_tokens } = await client.messages.countTokens({ model: whole.model, messages: asked("Please count to 5.").messages });
    return { whole: textOf(whole), streamed, last: textOf(last), id: whole._request_id, tokens: [whole.usage.input_tokens, last.usage.input_tokens, input_tokens] };
  },
  async tool() {
    const cities = [];
    const runner = client.beta.messages.toolRunner({ ...asked('How is it there? [use weather {"city": "Köln"}]'), tools: [weather(cities)], stream: true });
    let last;
    for await (const stream of runner) last = await stream.finalMessage();
    return { cities, said: textOf(last) };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list({ limit: 3 })) ids.push(model.id);
    return { ids, first: (await client.models.retrieve(ids[0])).id };
  },
  async failures() {
    const wrong = new Anthropic({ baseURL, apiKey: "wrong" });
    return {
      wrong: await failure(() => wrong.messages.create(asked("Hi"))),
      forbidden: await failure(() => client.messages.create(asked("Hi", "claude-haiku-5-5"))),
      batches: await failure(() => client.messages.batches.list()),
      overloaded: await failure(() => client.messages.create(asked("Hi", "simulate-529"))),
      broken: await failure(() => client.messages.stream(asked("Hi", "simulate-error")).finalMessage()),
    };
  },
};

console.log(JSON.stringify(await steps[step]()));
