// Whole answers and streams, so many a second of each. Environment: as in calls.js; RATE and STREAM_RATE a second, SECONDS,
// P95_MS.
import * as calls from "./calls.js";

const RATE = calls.setting("RATE", 20);
const STREAM_RATE = calls.setting("STREAM_RATE", 5);

export const options = {
  scenarios: { json: calls.steady(RATE, "json"), streams: calls.steady(STREAM_RATE, "stream") },
  thresholds: calls.thresholds((RATE + STREAM_RATE) * calls.SECONDS, "json", "stream"),
};

export const json = calls.json;

export const stream = calls.stream;
