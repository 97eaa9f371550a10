// Makes one call with the OpenAI SDK for each line it reads, and prints one line: what the caller would see.
import OpenAI from "openai";
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await ask(JSON.parse(line))));
}

async function ask({ url, key, model, prompt, max_tokens, stream }) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 2 });
  const call = { model, max_tokens, messages: [{ role: "user", content: prompt }] };
  try {
    return await (stream ? readStream(client, call) : readWhole(client, call));
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return { error: error.constructor.name, status: error.status, code: error.code, message: error.message };
  }
}

async function readWhole(client, call) {
  const answer = await client.chat.completions.create(call);
  return { text: answer.choices[0].message.content, ...tokens(answer.usage) };
}

async function readStream(client, call) {
  let said = { text: "" };
  const wish = { ...call, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client.chat.completions.create(wish)) {
    said.text += chunk.choices[0]?.delta.content ?? "";
    if (chunk.usage) said = { ...said, ...tokens(chunk.usage) };
  }
  return said;
}

function tokens(usage) {
  return { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens };
}
