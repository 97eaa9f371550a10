// LangChain for JavaScript: `ChatOpenAI` and `OpenAIEmbeddings`.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import { TOOL, TOOL_DESCRIPTION, TOOL_RESULT, refusedBy, serve, sum } from "../node/serve.mjs";

const City = z.object({ name: z.string(), population: z.number().int() });
const getWeather = tool(() => TOOL_RESULT, {
  name: TOOL,
  description: TOOL_DESCRIPTION,
  schema: z.object({ city: z.string() }),
});
const common = ({ url, key, model, retries }) => ({
  configuration: { baseURL: `${url}/v1` },
  apiKey: key,
  model,
  maxRetries: retries,
});
const chat = (task) => new ChatOpenAI({ ...common(task), maxTokens: task.max_tokens, streamUsage: true });

function read(...messages) {
  return {
    text: messages.at(-1).text,
    prompt_tokens: sum(...messages.map((message) => message.usage_metadata.input_tokens)),
    completion_tokens: sum(...messages.map((message) => message.usage_metadata.output_tokens)),
  };
}

const tasks = {
  async plain(task) {
    return read(await chat(task).invoke(task.prompt));
  },

  async stream(task) {
    let whole;
    let pieces = 0;
    for await (const chunk of await chat(task).stream(task.prompt)) {
      whole = whole ? whole.concat(chunk) : chunk;
      if (chunk.text) pieces += 1;
    }
    return { ...read(whole), pieces };
  },

  async tools(task) {
    const model = chat(task).bindTools([getWeather]);
    const first = await model.invoke(task.prompt);
    const [call] = first.tool_calls;
    const result = new ToolMessage({ content: await getWeather.invoke(call.args), tool_call_id: call.id });
    const second = await model.invoke([new HumanMessage(task.prompt), first, result]);
    return { ...read(first, second), tool: call.name, arguments: call.args };
  },

  async structured(task) {
    const model = chat(task).withStructuredOutput(City, { includeRaw: true, name: "city" });
    const { raw, parsed } = await model.invoke(task.prompt);
    return { ...read(raw), parsed };
  },

  async embeddings(task) {
    return { vectors: await new OpenAIEmbeddings(common(task)).embedDocuments(task.texts) };
  },

  async hang_up(task) {
    for await (const chunk of await chat(task).stream(task.prompt)) {
      if (chunk.text) return { text: chunk.text };
    }
    return {};
  },
};

await serve(tasks, refusedBy);
