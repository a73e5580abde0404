import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { VERSION } from "../src/channel.js";
import { FakeService } from "./support/fake_service.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const index = new URL("../src/index.js", import.meta.url).href;

test("the version is the package's", () => {
  const { version } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as { version: string };
  assert.equal(VERSION, version);
});

test("the package holds what its users need alone", () => {
  const pack = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const packed = execFileSync("npm", pack, { cwd: root, stdio: ["ignore", "pipe", "ignore"] }).toString();
  const [{ files }] = JSON.parse(packed) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  assert.ok(
    ["dist/index.js", "dist/index.d.ts", "dist/gen/keepstate/v1/record.js"].every((path) => paths.includes(path)),
  );
  const others = paths.filter((path) => !/^dist\/.*\.(js|d\.ts)$/.test(path));
  assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
});

/** What a program prints, which has half a minute to end by itself and prints no errors or warnings. */
async function run(program: string, type = "module"): Promise<string> {
  const given = [`--input-type=${type}`, "--eval", program];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, given, { timeout: 30_000 });
  assert.equal(stderr, "");
  return stdout;
}

test("a process ends though an idle client is left", async (t) => {
  const service = await new FakeService().start();
  t.after(() => {
    service.stop();
  });
  service.handlers["put"] = () => ({ etag: "e" });
  const told = await run(`
    import { Client } from ${JSON.stringify(index)};
    const state = new Client(${JSON.stringify(service.address)});
    console.log(await state.put("k", 1));
  `);
  assert.equal(told, "e\n");
});

test("a process ends though nobody answers a client", async () => {
  const told = await run(`
    import { Client } from ${JSON.stringify(index)};
    const state = new Client("127.0.0.1:1", { timeoutMs: 200 });
    await state.put("k", 1).catch((error) => console.log(error.kind, error.nothingSent));
  `);
  assert.equal(told, "Unavailable true\n");
});

test("many calls at one time, also with one signal, make Node warn of nothing", async (t) => {
  const service = await new FakeService().start();
  t.after(() => {
    service.stop();
  });
  service.handlers["put"] = () => ({ etag: "e" });
  const told = await run(`
    import { Client } from ${JSON.stringify(index)};
    const state = new Client(${JSON.stringify(service.address)});
    const { signal } = new AbortController();
    const etags = await Promise.all(Array.from({ length: 50 }, () => state.put("k", 1, { signal })));
    console.log(etags.length);
  `);
  assert.equal(told, "50\n");
});

test("what Node shows of a client has no token", async () => {
  const told = await run(`
    import { inspect } from "node:util";
    import { Client } from ${JSON.stringify(index)};
    const state = new Client("localhost:7400", { token: "hush", metadata: { "dapr-api-token": "hush" } });
    console.log(inspect([state, state.namespace("n")], { depth: Infinity, showHidden: true }), JSON.stringify(state));
  `);
  assert.match(told, /Client/);
  assert.doesNotMatch(told, /hush/);
});

test("a program of CommonJS can require the package", async () => {
  const path = JSON.stringify(fileURLToPath(index));
  assert.equal(await run(`const { Client } = require(${path}); console.log(typeof Client);`, "commonjs"), "function\n");
});
