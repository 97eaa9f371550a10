// Everything at once, for long: of forty turns, 18 whole answers, 11 streams, 4 embeddings, 2 callers who leave, 2 calls
// over a limit a minute, 1 spike over a limit of calls at once, 1 call with a wrong key and 1 for a wrong model. RATE turns
// a second; with CLIENTS in place of it, so many one after another each, to see how many a second there can be.
// Environment: as in calls.js; SECONDS, P95_MS.
import exec from "k6/execution";

import * as calls from "./calls.js";

const RATE = calls.setting("RATE", 10);
const CLIENTS = calls.setting("CLIENTS", 0);
const SHARES = { json: 18, stream: 11, embedding: 4, hang_up: 2, rpm: 2, at_once: 1, wrong_key: 1, wrong_model: 1 };
const RUN = {
  json: calls.json,
  stream: calls.stream,
  embedding: calls.embedding,
  hang_up: calls.hangUp,
  rpm: calls.overRate,
  at_once: calls.overAtOnce,
  wrong_key: calls.wrongKey,
  wrong_model: calls.wrongModel,
};
const kinds = Object.entries(SHARES).flatMap(([kind, share]) => Array(share).fill(kind));
// Has no divisor in common with forty, so that calls of a kind do not come together.
const STEP = 17;

export const options = {
  scenarios: {
    mixed: CLIENTS
      ? { executor: "constant-vus", vus: CLIENTS, duration: calls.DURATION, exec: "mixed" }
      : calls.steady(RATE, "mixed"),
  },
  thresholds: {
    ...calls.thresholds(RATE * calls.SECONDS, "json", "stream", "embedding"),
    ...(CLIENTS ? {} : calls.bothHappen("rpm", "at_once")),
  },
};

export function mixed() {
  RUN[kinds[(exec.scenario.iterationInTest * STEP) % kinds.length]]();
}
