// Vercel's AI SDK by its three providers: `openai` (responses), `openai-compatible` (chat) and `anthropic`.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embedMany, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { TOOL_DESCRIPTION, TOOL_RESULT, refusedBy, serve } from "../node/serve.mjs";

const City = z.object({ name: z.string(), population: z.number().int() });

function provider({ api, url, key }) {
  const common = { baseURL: `${url}/v1`, apiKey: key };
  if (api === "messages") return createAnthropic(common);
  if (api === "responses") return createOpenAI(common);
  return createOpenAICompatible({ ...common, name: "litemaas", includeUsage: true, supportsStructuredOutputs: true });
}

const asked = (task) => ({
  model: provider(task)(task.model),
  prompt: task.prompt,
  maxOutputTokens: task.max_tokens,
  maxRetries: task.retries,
});
const tokens = (usage) => ({ prompt_tokens: usage.inputTokens, completion_tokens: usage.outputTokens });

// `streamText` hands errors to a function, and to the stream's parts.
function stream(task) {
  let failed;
  const result = streamText({ ...asked(task), onError: ({ error }) => (failed = error), abortSignal: task.signal });
  return { result, check: () => { if (failed) throw failed; } };
}

const tasks = {
  async plain(task) {
    const answer = await generateText(asked(task));
    return { text: answer.text, ...tokens(answer.usage) };
  },

  async stream(task) {
    const seen = { text: "", pieces: 0 };
    const { result, check } = stream(task);
    for await (const piece of result.textStream) Object.assign(seen, { text: seen.text + piece, pieces: seen.pieces + 1 });
    check();
    return { ...seen, ...tokens(await result.usage) };
  },

  async tools(task) {
    const get_weather = tool({
      description: TOOL_DESCRIPTION,
      inputSchema: z.object({ city: z.string() }),
      execute: async () => TOOL_RESULT,
    });
    const answer = await generateText({ ...asked(task), tools: { get_weather }, stopWhen: stepCountIs(2) });
    const [call] = answer.steps[0].toolCalls;
    const usage = answer.totalUsage ?? answer.usage;
    return { tool: call.toolName, arguments: call.input, text: answer.text, ...tokens(usage) };
  },

  async structured(task) {
    const answer = await generateText({ ...asked(task), output: Output.object({ schema: City }) });
    return { parsed: answer.output, ...tokens(answer.usage) };
  },

  async embeddings(task) {
    const model = provider(task).embeddingModel(task.model);
    const answer = await embedMany({ model, values: task.texts, maxRetries: task.retries });
    return { vectors: answer.embeddings, prompt_tokens: answer.usage.tokens };
  },

  async hang_up(task) {
    const abort = new AbortController();
    const { result } = stream({ ...task, signal: abort.signal });
    for await (const text of result.textStream) {
      abort.abort();
      return { text };
    }
    return {};
  },
};

await serve(tasks, (error) => refusedBy(error, "statusCode", (inner) => inner.data?.error?.code ?? inner.data?.error?.error_code));
