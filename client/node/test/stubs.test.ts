import assert from "node:assert/strict";
import { test } from "node:test";

import { Consistency, Record } from "../src/gen/keepstate/v1/record.js";
import { GetRequest, Increment } from "../src/gen/keepstate/v1/state_service.js";

test("the stubs keep 64-bit numbers exactly", () => {
  const limits = { delta: -(2n ** 63n), initial: 2n ** 63n - 1n, minimum: 0n, maximum: undefined };
  assert.deepEqual(Increment.decode(Increment.encode(limits).finish()), limits);
});

test("the stubs refuse a number that 64 bits do not hold", () => {
  assert.throws(() =>
    Increment.encode({ delta: 2n ** 63n, initial: undefined, minimum: undefined, maximum: undefined }),
  );
});

test("the stubs pass over fields and numbers of enums that they do not know", () => {
  const field99 = [0x9a, 0x06, 0x01, 0x00]; // of length 1
  const consistency77 = [0x10, 77];
  const read = GetRequest.decode(Uint8Array.from([...field99, ...consistency77]));
  assert.equal(read.consistency, 77);
  assert.notEqual(read.consistency, Consistency.EVENTUAL);
});

test("the stubs keep bytes that are not UTF-8", () => {
  const value = Uint8Array.from([0, 0xff, 0xc0, 0x80]);
  const record = {
    name: undefined,
    value,
    contentType: "",
    etag: "",
    createTime: undefined,
    updateTime: undefined,
    expireTime: undefined,
  };
  assert.deepEqual(Record.decode(Record.encode(record).finish()).value, value);
});
