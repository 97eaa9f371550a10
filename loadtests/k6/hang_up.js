// Callers who leave in mid-stream, beside others who stay. Environment: as in calls.js; RATE of either a second, SECONDS.
import * as calls from "./calls.js";

const RATE = calls.setting("RATE", 6);

export const options = {
  scenarios: { hang_ups: calls.steady(RATE, "hangUp"), json: calls.steady(RATE, "json") },
  thresholds: calls.thresholds(2 * RATE * calls.SECONDS, "json"),
};

export const json = calls.json;

export const hangUp = calls.hangUp;
