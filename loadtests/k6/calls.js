// The calls of the load scripts, each with its checks. Each writes one line of JSON to the console: what its caller saw,
// which `python -m loadtests.k6` compares with the access log, the ledger and the model server.
//
// Environment: GATEWAY_URL, MODEL, EMBEDDING_MODEL, RUN (a word of this run), API_KEY, RPM_KEY, AT_ONCE_KEY.
import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";

const URL = __ENV.GATEWAY_URL;
if (!/^http:\/\/(127\.0\.0\.1|localhost|\[::1\]):\d+$/.test(URL)) {
  throw new Error(`Load is sent to loopback only, not to ${URL}.`);
}
const CHAT = "/v1/chat/completions";
const PATIENCE = "60s";
const TIMED_OUT = 1050;
// Quick, and the same whatever the model server does by default.
const PACE = "[delay=0.02] [rate=100]";
// Calls of a spike: more than the limit of its key.
const SPIKE = 6;
const admitted = new Counter("admitted");
const refused = new Counter("refused");
// How long calls last says little on a shared machine, so only what nobody would wait for is a fault.
const P95_MS = Number(__ENV.P95_MS || 10000);
// Of calls that were not made because no VU was free; with more, the load was less than it says.
const MAX_DROPPED = Number(__ENV.MAX_DROPPED || 0.05);

export const SECONDS = Number(__ENV.SECONDS || 30);
export const DURATION = `${SECONDS}s`;

// A number of the environment.
export function setting(name, usual) {
  return Number(__ENV[name] || usual);
}

// So many calls a second, however long they take.
export function steady(rate, run) {
  const vus = Math.min(300, Math.max(40, 6 * rate));
  return { executor: "constant-arrival-rate", rate, duration: DURATION, preAllocatedVUs: vus, maxVUs: 400, exec: run };
}

// All checks hold, no call has a status it should not have, hardly one is dropped for want of a free VU, and 95 % of each
// of these kinds take less than P95_MS.
export function thresholds(planned, ...kinds) {
  const slow = kinds.map((kind) => [`http_req_duration{kind:${kind}}`, [`p(95)<${P95_MS}`]]);
  return {
    checks: ["rate==1.0"],
    http_req_failed: ["rate==0"],
    dropped_iterations: [`count<=${Math.ceil(planned * MAX_DROPPED)}`],
    ...Object.fromEntries(slow),
  };
}

// Over these limits calls were admitted and refused.
export function bothHappen(...kinds) {
  const names = kinds.flatMap((kind) => [`admitted{kind:${kind}}`, `refused{kind:${kind}}`]);
  return Object.fromEntries(names.map((name) => [name, ["count>0"]]));
}

function mark(kind) {
  return `[mark=${__ENV.RUN}.${kind}.${exec.scenario.iterationInTest}]`;
}

// The arguments of http.post, and of a call of http.batch.
function request(kind, path, key, body, params) {
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  const tags = { kind, name: path };
  return [URL + path, JSON.stringify(body), { headers, tags, timeout: PATIENCE, ...params }];
}

function chat(kind, key, prompt, fields, params) {
  const messages = [{ role: "user", content: `Hello ${PACE} ${prompt} ${mark(kind)}` }];
  return request(kind, CHAT, key, { model: __ENV.MODEL, messages, ...fields }, params);
}

function only(...statuses) {
  return { responseCallback: http.expectedStatuses(...statuses) };
}

// `tokens`: what the answer says was used, by the ledger's names.
function note(kind, answer, tokens) {
  const id = answer.headers["X-Request-Id"] || null;
  const took = answer.timings.duration;
  const line = { kind, status: answer.status, id, ended_ms: Date.now(), took_ms: took, ...tokens };
  console.log(JSON.stringify(line));
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function usage(answer) {
  const found = answer.status === 200 ? answer.json("usage") : null;
  return found ? { prompt_tokens: found.prompt_tokens, completion_tokens: found.completion_tokens || 0 } : {};
}

// A whole answer.
export function json() {
  const answer = http.post(...chat("json", __ENV.API_KEY, "[tokens=5]", {}, only(200)));
  note("json", answer, usage(answer));
  check(answer, {
    "json: 200": (r) => r.status === 200,
    "json: it has all tokens": (r) => r.json("usage.completion_tokens") === 5,
  });
}

// A stream; every other one asks for its usage. Each event of it holds one token, so they are counted in any case.
export function stream() {
  const asks = exec.scenario.iterationInTest % 2 === 0;
  const fields = { stream: true, ...(asks ? { stream_options: { include_usage: true } } : {}) };
  const answer = http.post(...chat("stream", __ENV.API_KEY, "[tokens=20]", fields, only(200)));
  const events = (answer.body || "").split("\n\n").filter((event) => event.startsWith("data: "));
  const said = events.map((event) => parse(event.slice(6))).filter((event) => event !== null);
  const texts = said.filter((event) => event.choices.some((choice) => choice.delta.content));
  const used = said.map((event) => event.usage).filter((found) => found);
  const prompt = used.length ? { prompt_tokens: used[0].prompt_tokens } : {};
  note("stream", answer, { completion_tokens: texts.length, ...prompt });
  check(answer, {
    "stream: 200": (r) => r.status === 200,
    "stream: it ends": () => events.length > 0 && events[events.length - 1].trim() === "data: [DONE]",
    "stream: it has all tokens": () => texts.length === 20,
    "stream: usage only for those who ask": () => used.length === (asks ? 1 : 0),
  });
}

export function embedding() {
  const body = { model: __ENV.EMBEDDING_MODEL, input: `Some words of text ${mark("embedding")}` };
  const answer = http.post(...request("embedding", "/v1/embeddings", __ENV.API_KEY, body, only(200)));
  note("embedding", answer, usage(answer));
  check(answer, { "embedding: 200": (r) => r.status === 200 && r.json("data.0.embedding").length > 0 });
}

// A stream of five seconds or more, whose caller leaves after one or two.
export function hangUp() {
  const leaves = { timeout: `${1000 + (exec.scenario.iterationInTest % 5) * 200}ms`, responseCallback: null };
  const answer = http.post(...chat("hang_up", __ENV.API_KEY, "[tokens=100] [rate=20]", { stream: true }, leaves));
  note("hang_up", answer, {});
  check(answer, { "hang-up: its caller left": (r) => r.status === 0 && r.error_code === TIMED_OUT });
}

// Over a limit: answered, or refused with when to come again.
function checkLimited(kind, answer) {
  note(kind, answer, usage(answer));
  (answer.status === 200 ? admitted : refused).add(1, { kind });
  const name = `${kind}: 200, or 429 with retry-after`;
  check(answer, { [name]: (r) => r.status === 200 || (r.status === 429 && Number(r.headers["Retry-After"]) >= 1) });
}

export function overRate() {
  checkLimited("rpm", http.post(...chat("rpm", __ENV.RPM_KEY, "[tokens=3]", {}, only(200, 429))));
}

// Six calls at once, each of half a second.
export function overAtOnce() {
  const call = () => ["POST", ...chat("at_once", __ENV.AT_ONCE_KEY, "[tokens=3] [delay=0.5]", {}, only(200, 429))];
  http.batch(Array.from({ length: SPIKE }, call)).forEach((answer) => checkLimited("at_once", answer));
}

export function wrongKey() {
  const answer = http.post(...chat("wrong_key", "sk-of-nobody", "[tokens=1]", {}, only(401)));
  note("wrong_key", answer, {});
  check(answer, { "wrong key: 401": (r) => r.status === 401 && r.json("error.code") === "invalid_api_key" });
}

export function wrongModel() {
  const fields = { model: "a-model-of-nobody" };
  const answer = http.post(...chat("wrong_model", __ENV.API_KEY, "[tokens=1]", fields, only(404)));
  note("wrong_model", answer, {});
  check(answer, { "wrong model: 404": (r) => r.status === 404 && r.json("error.code") === "model_not_found" });
}
