// A short run against a gateway on loopback: every call is answered as it should be, streamed and not, refused and not.
// Bounded in time and in calls; it stops by itself. Environment: GATEWAY_URL, API_KEY, MODEL, REFUSED_KEY.
import http from "k6/http";
import { check } from "k6";

export const options = {
  scenarios: {
    calls: { executor: "shared-iterations", vus: 8, iterations: 200, maxDuration: "10s", exec: "call" },
    streams: { executor: "shared-iterations", vus: 4, iterations: 60, maxDuration: "10s", exec: "stream" },
    refusals: { executor: "shared-iterations", vus: 4, iterations: 60, maxDuration: "10s", exec: "refused" },
  },
  // Counts and shares only: how long a call takes says nothing on a shared machine.
  thresholds: { checks: ["rate==1.0"], iterations: ["count==320"] },
};

function post(key, fields) {
  const body = { model: __ENV.MODEL, messages: [{ role: "user", content: "Hello [tokens=5]" }], ...fields };
  const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
  return http.post(`${__ENV.GATEWAY_URL}/v1/chat/completions`, JSON.stringify(body), { headers });
}

export function call() {
  const answer = post(__ENV.API_KEY, {});
  check(answer, {
    "a call is answered": (r) => r.status === 200,
    "it tells its usage": (r) => r.json("usage.completion_tokens") === 5,
    "it has an id": (r) => r.headers["X-Request-Id"].length === 36,
  });
}

export function stream() {
  const answer = post(__ENV.API_KEY, { stream: true });
  check(answer, {
    "a stream is answered": (r) => r.status === 200,
    "it ends": (r) => r.body.trim().endsWith("data: [DONE]"),
    "usage nobody asked for is not in it": (r) => !r.body.includes('"usage":{'),
  });
}

export function refused() {
  const answer = post(__ENV.REFUSED_KEY, {});
  check(answer, {
    "a key without a request left is refused": (r) => r.status === 429 && r.json("error.code") === "insufficient_quota",
    "and not asked to try again": (r) => r.headers["X-Should-Retry"] === "false",
  });
}
