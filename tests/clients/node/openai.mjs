// `openai`: chat completions, responses, embeddings and models.
import OpenAI from "openai";
import { CITY_SCHEMA, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, refusedBy, serve, sum } from "./serve.mjs";

const described = { name: TOOL, description: TOOL_DESCRIPTION, parameters: TOOL_SCHEMA, strict: true };
const client = ({ url, key, retries }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: retries });
const user = ({ prompt }) => [{ role: "user", content: prompt }];
const asked = (task) => ({ model: task.model, messages: user(task), max_completion_tokens: task.max_tokens });
const tokens = (...usages) => ({
  prompt_tokens: sum(...usages.map((usage) => usage.prompt_tokens ?? usage.input_tokens)),
  completion_tokens: sum(...usages.map((usage) => usage.completion_tokens ?? usage.output_tokens)),
});

const chat = {
  async plain(task) {
    const answer = await client(task).chat.completions.create(asked(task));
    return { text: answer.choices[0].message.content, ...tokens(answer.usage) };
  },

  async stream(task) {
    const seen = { text: "", pieces: 0 };
    const body = { ...asked(task), stream: true, stream_options: { include_usage: true } };
    for await (const chunk of await client(task).chat.completions.create(body)) {
      const piece = chunk.choices[0]?.delta.content;
      if (piece) Object.assign(seen, { text: seen.text + piece, pieces: seen.pieces + 1 });
      if (chunk.usage) Object.assign(seen, tokens(chunk.usage));
    }
    return seen;
  },

  async tools(task) {
    const body = { ...asked(task), tools: [{ type: "function", function: described }] };
    const first = await client(task).chat.completions.create(body);
    const message = first.choices[0].message;
    const [call] = message.tool_calls;
    body.messages = [...body.messages, message, { role: "tool", tool_call_id: call.id, content: TOOL_RESULT }];
    const second = await client(task).chat.completions.create(body);
    return {
      tool: call.function.name,
      arguments: call.function.arguments,
      text: second.choices[0].message.content,
      ...tokens(first.usage, second.usage),
    };
  },

  async structured(task) {
    const form = { type: "json_schema", json_schema: { name: "city", schema: CITY_SCHEMA, strict: true } };
    const answer = await client(task).chat.completions.create({ ...asked(task), response_format: form });
    return { parsed: JSON.parse(answer.choices[0].message.content), ...tokens(answer.usage) };
  },

  async embeddings(task) {
    const answer = await client(task).embeddings.create({ model: task.model, input: task.texts });
    return { vectors: answer.data.map((one) => one.embedding), prompt_tokens: answer.usage.prompt_tokens };
  },

  async models(task) {
    const found = [];
    for await (const model of client(task).models.list()) found.push(model.id);
    return { models: found };
  },

  async hang_up(task) {
    const stream = await client(task).chat.completions.create({ ...asked(task), stream: true });
    for await (const chunk of stream) {
      const text = chunk.choices[0]?.delta.content;
      if (text) return { text };
    }
    return {};
  },
};

const responses = {
  async plain(task) {
    const body = { model: task.model, input: task.prompt, max_output_tokens: task.max_tokens };
    const answer = await client(task).responses.create(body);
    return { text: answer.output_text, ...tokens(answer.usage) };
  },

  async stream(task) {
    const seen = { text: "", pieces: 0 };
    const body = { model: task.model, input: task.prompt, max_output_tokens: task.max_tokens, stream: true };
    for await (const event of await client(task).responses.create(body)) {
      if (event.type === "response.output_text.delta") {
        Object.assign(seen, { text: seen.text + event.delta, pieces: seen.pieces + 1 });
      }
      if (event.type === "response.completed") Object.assign(seen, tokens(event.response.usage));
    }
    return seen;
  },

  async tools(task) {
    const body = { model: task.model, input: user(task), tools: [{ type: "function", ...described }] };
    const first = await client(task).responses.create(body);
    const call = first.output.find((item) => item.type === "function_call");
    const result = { type: "function_call_output", call_id: call.call_id, output: TOOL_RESULT };
    body.input = [...body.input, ...first.output, result];
    const second = await client(task).responses.create(body);
    return {
      tool: call.name,
      arguments: call.arguments,
      text: second.output_text,
      ...tokens(first.usage, second.usage),
    };
  },

  async structured(task) {
    const format = { type: "json_schema", name: "city", schema: CITY_SCHEMA, strict: true };
    const answer = await client(task).responses.create({ model: task.model, input: task.prompt, text: { format } });
    return { parsed: JSON.parse(answer.output_text), ...tokens(answer.usage) };
  },

  async count(task) {
    const counted = await client(task).responses.inputTokens.count({ model: task.model, input: task.prompt });
    return { prompt_tokens: counted.input_tokens };
  },

  async hang_up(task) {
    const stream = await client(task).responses.create({ model: task.model, input: task.prompt, stream: true });
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") return { text: event.delta };
    }
    return {};
  },
};

const byApi = (name) => (task) => ((task.api === "responses" && responses[name]) || chat[name])(task);
const refused = (error) => (error instanceof OpenAI.APIError ? refusedBy(error) : null);
await serve(Object.fromEntries(Object.keys({ ...chat, ...responses }).map((name) => [name, byApi(name)])), refused);
