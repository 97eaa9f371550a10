// Spikes over a limit of requests a minute, and over one of requests at once: every answer is a 200, or a 429 with
// retry-after. That no more than the limit were admitted is counted afterwards. Environment: as in calls.js; SPIKE turns a
// second for two of every ten seconds and BASE a second else, SECONDS. A turn is one call, or six at once.
import * as calls from "./calls.js";

const SPIKE = calls.setting("SPIKE", 40);
const BASE = calls.setting("BASE", 2);
const CYCLE_S = 10;
const SPIKE_S = 2;
const cycles = Math.max(1, Math.round(calls.SECONDS / CYCLE_S));
const planned = 2 * cycles * (SPIKE * SPIKE_S + BASE * (CYCLE_S - SPIKE_S));

function spikes(run) {
  const cycle = [
    { target: BASE, duration: "0s" },
    { target: BASE, duration: `${CYCLE_S - SPIKE_S}s` },
    { target: SPIKE, duration: "0s" },
    { target: SPIKE, duration: `${SPIKE_S}s` },
  ];
  const stages = Array(cycles).fill(cycle).flat();
  return { executor: "ramping-arrival-rate", startRate: BASE, stages, preAllocatedVUs: 60, maxVUs: 200, exec: run };
}

export const options = {
  scenarios: { rpm: spikes("rpm"), at_once: spikes("atOnce") },
  thresholds: {
    ...calls.thresholds(planned, "rpm", "at_once"),
    ...calls.bothHappen("rpm", "at_once"),
  },
};

export const rpm = calls.overRate;
export const atOnce = calls.overAtOnce;
