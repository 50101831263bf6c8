// The `openai` package as it is, against a Spindle whose address stands in OPENAI_BASE_URL.
//
// SPINDLE_TEST_MODEL names the model, SPINDLE_TEST_BUSY_URL a server with one place and a short queue.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const model = process.env.SPINDLE_TEST_MODEL;
const messages = [{ role: "user", content: "What is the opposite of hot?" }];

const client = (settings = {}) => new OpenAI({ maxRetries: 0, timeout: 60_000, ...settings });
const chat = (fields = {}) => client().chat.completions.create({ model, messages, temperature: 0, ...fields });
const text = (fields = {}) =>
  client().completions.create({ model, prompt: "Once upon a time", temperature: 0, ...fields });

async function collect(stream) {
  const chunks = [];
  for await (const chunk of await stream) chunks.push(chunk);
  return chunks;
}

async function fails(type, status, code, call) {
  const error = await call().then(
    () => assert.fail("no error"),
    (error) => error,
  );
  assert.ok(error instanceof type, `${error}`);
  assert.deepEqual([error.status, error.code], [status, code]);
  assert.ok(error.requestID);
  return error;
}

test("chat answers with usage", async () => {
  const answer = await chat();
  assert.equal(answer.object, "chat.completion");
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer._request_id);
});

test("a stream joins to the answer", async () => {
  const chunks = await collect(chat({ stream: true, stream_options: { include_usage: true } }));
  const said = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  const whole = await chat();
  assert.equal(said, whole.choices[0].message.content);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
});

test("the stream helper rebuilds the message", async () => {
  const runner = client().chat.completions.stream({ model, messages, temperature: 0 });
  const whole = await chat();
  assert.equal(await runner.finalContent(), whole.choices[0].message.content);
});

test("breaking out of a stream leaves the client usable", async () => {
  const one = client();
  const body = { model, messages, stream: true, max_tokens: 200, ignore_eos: true };
  for await (const _ of await one.chat.completions.create(body)) break;
  assert.ok((await one.models.list()).data.length);
});

test("n, seed and logprobs", async () => {
  const fields = { n: 3, temperature: 1.3, seed: 4, logprobs: true, top_logprobs: 2, max_tokens: 12 };
  const [first, second] = [await chat(fields), await chat(fields)];
  assert.deepEqual(first.choices, second.choices);
  assert.deepEqual(
    first.choices.map((choice) => choice.index),
    [0, 1, 2],
  );
  for (const token of first.choices[0].logprobs.content) {
    assert.ok(token.logprob <= 0 && token.top_logprobs.length === 2);
  }
});

test("stop ends the answer and is not part of it", async () => {
  const whole = (await chat({ max_tokens: 30 })).choices[0].message.content;
  const stop = whole.slice(2, 5);
  const answer = await chat({ max_tokens: 30, stop });
  assert.equal(answer.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("completions, whole and streamed", async () => {
  const answer = await text({ logprobs: 1 });
  assert.equal(answer.object, "text_completion");
  assert.equal(answer.choices[0].logprobs.tokens.length, answer.choices[0].logprobs.token_logprobs.length);
  const chunks = await collect(text({ stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), answer.choices[0].text);
  assert.ok((await text({ echo: true })).choices[0].text.startsWith("Once upon a time"));
  assert.equal((await text({ prompt: ["one", "two"], n: 2 })).choices.length, 4);
});

test("models", async () => {
  const ids = await collect(client().models.list());
  assert.deepEqual(
    ids.map((one) => one.id),
    [model],
  );
  assert.equal((await client().models.retrieve(model)).id, model);
});

test("errors come as their classes", async () => {
  const bad = await fails(OpenAI.BadRequestError, 400, "decimal_above_max_value", () => chat({ temperature: 3 }));
  assert.deepEqual([bad.param, bad.type], ["temperature", "invalid_request_error"]);
  const tools = [{ type: "function", function: { name: "f" } }];
  await fails(OpenAI.BadRequestError, 400, "unsupported_parameter", () => chat({ tools }));
  await fails(OpenAI.BadRequestError, 400, "integer_below_min_value", () => chat({ stream: true, n: 0 }));
  await fails(OpenAI.NotFoundError, 404, "model_not_found", () => chat({ model: "nothing" }));
  await fails(OpenAI.NotFoundError, 404, "model_not_found", () => client().models.retrieve("nothing"));
  await fails(OpenAI.AuthenticationError, 401, "invalid_api_key", async () =>
    client({ apiKey: "wrong" }).models.list(),
  );
});

test("a full queue is a rate limit", async () => {
  const busy = client({ baseURL: process.env.SPINDLE_TEST_BUSY_URL });
  const held = [];
  const fill = async () => {
    for (let index = 0; index < 100; index++) {
      const body = { model, messages, stream: true, max_tokens: 200, ignore_eos: true };
      held.push(await busy.chat.completions.create(body));
    }
  };
  const error = await fails(OpenAI.RateLimitError, 429, "rate_limit_exceeded", fill);
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  for (const stream of held) stream.controller.abort();
});
