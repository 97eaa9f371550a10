// `@anthropic-ai/sdk`: messages and models.
import Anthropic from "@anthropic-ai/sdk";
import { CITY_SCHEMA, TOOL, TOOL_DESCRIPTION, TOOL_RESULT, TOOL_SCHEMA, refusedBy, serve, sum } from "./serve.mjs";

const client = ({ url, key, retries }) => new Anthropic({ baseURL: url, apiKey: key, maxRetries: retries });
const asked = ({ model, max_tokens, prompt }) => ({
  model,
  max_tokens,
  messages: [{ role: "user", content: prompt }],
});

function read(...messages) {
  const texts = messages.at(-1).content.filter((block) => block.type === "text");
  return {
    text: texts.map((block) => block.text).join(""),
    prompt_tokens: sum(...messages.map((message) => message.usage.input_tokens)),
    completion_tokens: sum(...messages.map((message) => message.usage.output_tokens)),
  };
}

const tasks = {
  async plain(task) {
    return read(await client(task).messages.create(asked(task)));
  },

  async stream(task) {
    let pieces = 0;
    const stream = client(task).messages.stream(asked(task));
    stream.on("text", () => (pieces += 1));
    return { ...read(await stream.finalMessage()), pieces };
  },

  async tools(task) {
    const tool = { name: TOOL, description: TOOL_DESCRIPTION, input_schema: TOOL_SCHEMA };
    const body = { ...asked(task), tools: [tool] };
    const first = await client(task).messages.create(body);
    const call = first.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result", tool_use_id: call.id, content: TOOL_RESULT };
    const answered = [{ role: "assistant", content: first.content }, { role: "user", content: [result] }];
    const second = await client(task).messages.create({ ...body, messages: [...body.messages, ...answered] });
    return { ...read(first, second), tool: call.name, arguments: call.input };
  },

  async structured(task) {
    const output_config = { format: { type: "json_schema", schema: CITY_SCHEMA } };
    const answer = await client(task).messages.create({ ...asked(task), output_config });
    const seen = read(answer);
    return { ...seen, parsed: JSON.parse(seen.text) };
  },

  async models(task) {
    const found = [];
    for await (const model of client(task).models.list({ limit: 1 })) {
      if (!model.display_name || !model.created_at) throw new Error(`no model of Anthropic's: ${model.id}`);
      found.push(model.id);
    }
    return { models: found };
  },

  async count(task) {
    const { model, messages } = asked(task);
    return { prompt_tokens: (await client(task).messages.countTokens({ model, messages })).input_tokens };
  },

  async hang_up(task) {
    const stream = await client(task).messages.create({ ...asked(task), stream: true });
    for await (const event of stream) {
      if (event.type === "content_block_delta") return { text: event.delta.text };
    }
    return {};
  },
};

await serve(tasks, (error) =>
  error instanceof Anthropic.APIError ? refusedBy(error, "status", (inner) => inner.error?.error?.details?.error_code) : null,
);
