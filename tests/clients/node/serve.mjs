// What the programs for Node share: each reads one task per line as JSON and prints one line per task, what the client
// returned. tasks.py beside this folder describes both.
import { createInterface } from "node:readline";

// The tool that every client offers, and the form of every structured answer.
export const TOOL = "get_weather";
export const TOOL_DESCRIPTION = "The weather of a city.";
export const TOOL_SCHEMA = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const CITY_SCHEMA = {
  type: "object",
  properties: { name: { type: "string" }, population: { type: "integer" } },
  required: ["name", "population"],
  additionalProperties: false,
};
export const TOOL_RESULT = "12 degrees and rain";

// Until the input ends. `refused` describes the client's errors, and is null for any other.
export async function serve(tasks, refused) {
  const write = process.stdout.write.bind(process.stdout);
  console.log = console.info = console.warn = console.error; // some clients print
  for await (const line of createInterface({ input: process.stdin })) {
    const task = JSON.parse(line);
    write(JSON.stringify(await answer(tasks, refused, task)) + "\n");
  }
}

async function answer(tasks, refused, task) {
  try {
    return await tasks[task.name](task);
  } catch (error) {
    return refused(error) ?? { crash: `${error?.stack ?? error}`.slice(0, 2000) };
  }
}

// By the outermost error that has a status, which frameworks may wrap; its name is that of the outermost.
export function refusedBy(error, status = "status", code = (inner) => inner.code) {
  for (let inner = error; inner; inner = inner.lastError ?? inner.cause) {
    if (Number.isInteger(inner[status])) {
      const name = error.constructor.name === "Error" ? error.name : error.constructor.name;
      return { error: name, status: inner[status], code: code(inner) ?? null, message: error.message };
    }
  }
  return null;
}

export const sum = (...numbers) => numbers.reduce((total, number) => total + number, 0);
