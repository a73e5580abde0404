import assert from "node:assert/strict";
import { test } from "node:test";

import { ServiceClock } from "../src/clock.js";
import { FakeTiming } from "./support/timing.js";

const STAMP = "2030-06-01T12:00:00.000Z";
const NOON = Date.parse(STAMP);

function begin(): { timing: FakeTiming; clock: ServiceClock } {
  const timing = new FakeTiming();
  return { timing, clock: new ServiceClock(timing) };
}

test("until an answer has told the time the local clock serves", () => {
  const { timing, clock } = begin();
  assert.equal(clock.known, false);
  assert.equal(clock.now(), timing.wall());
});

test("the service's time is that of the middle between sending and receiving", () => {
  const { timing, clock } = begin();
  timing.now = 6_000;
  clock.observe(STAMP, 5_800, 6_000);
  assert.equal(clock.now(), NOON + 100);
  assert.ok(clock.known);
});

test("the estimate is carried on by the clock that nobody sets", () => {
  const { timing, clock } = begin();
  clock.observe(STAMP, 5_000, 5_000);
  timing.now += 90_000;
  assert.equal(clock.now(), NOON + 90_000);
});

test("a slower sample does not replace a quicker one that agrees with it", () => {
  const { timing, clock } = begin();
  clock.observe(STAMP, 5_000, 5_010);
  timing.now = 7_000;
  clock.observe("2030-06-01T12:00:01.200Z", 5_500, 7_000);
  assert.equal(clock.now(), NOON + 1_995);
});

test("a sample is worth less the older it is", () => {
  const { timing, clock } = begin();
  clock.observe(STAMP, 5_000, 5_010); // wrong by 6 ms at most, and by 206 ms after 200 s
  timing.now = 205_200;
  clock.observe("2030-06-01T12:03:20.150Z", 205_000, 205_200);
  assert.equal(clock.now(), NOON + 200_150 + 100);
});

test("a sample that contradicts the best one replaces it, as another instance answers", () => {
  const { timing, clock } = begin();
  clock.observe(STAMP, 5_000, 5_000);
  timing.now = 5_400;
  clock.observe("2030-06-01T12:00:05.000Z", 5_200, 5_400);
  assert.equal(clock.now(), NOON + 5_100);
});

test("what is known is no longer known once the local clocks have parted by more than a second", () => {
  const { timing, clock } = begin();
  clock.observe(STAMP, 5_000, 5_000);
  const wall = timing.wall.bind(timing);
  timing.wall = () => wall() + 1_001; // as after a sleep of the machine
  assert.equal(clock.known, false);
  assert.equal(clock.now(), timing.wall());
  clock.observe("2030-06-01T12:00:01.001Z", 4_000, 5_000);
  assert.ok(clock.known);
  assert.equal(clock.now(), NOON + 1_501);
});

for (const stamp of ["", "noon", "2030-06-01T12:00:00", "2030-06-01", "1906545600", "2030-13-01T12:00:00Z"]) {
  test(`what is no time with a zone is passed over: ${JSON.stringify(stamp)}`, () => {
    const { clock } = begin();
    clock.observe(stamp, 5_000, 5_000);
    assert.equal(clock.known, false);
  });
}

for (const stamp of ["2030-06-01T14:00:00.000000+02:00", "2030-06-01t12:00:00z"]) {
  test(`RFC 3339 is understood: ${stamp}`, () => {
    const { clock } = begin();
    clock.observe(stamp, 5_000, 5_000);
    assert.equal(clock.now(), NOON);
  });
}
