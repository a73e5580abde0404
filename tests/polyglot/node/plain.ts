// Calls the service at the address that it is given by generated stubs alone, without a client, and prints what it saw as
// a JSON object: see tests/polyglot/test_stubs.py, which also makes the stubs.
import { randomBytes } from "node:crypto";

import {
  type CallOptions,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";

import { ErrorInfo } from "./gen/google/rpc/error_details.js";
import { Status } from "./gen/google/rpc/status.js";
import {
  BatchRequest,
  GetRequest,
  PutRequest,
  StateServiceClient,
  TransactRequest,
  UpdateRequest,
} from "./gen/keepstate/v1/state_service.js";

const state = new StateServiceClient(process.argv[2] ?? "", credentials.createInsecure(), {
  "grpc.max_receive_message_length": 16 << 20,
  "grpc.max_send_message_length": 16 << 20,
});

type Method<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** What a call answers, within 10 s. It rejects with a ServiceError. */
function call<Request, Response>(method: Method<Request, Response>, request: Request): Promise<Response> {
  return new Promise((resolve, reject) => {
    method.call(state, request, new Metadata(), { deadline: Date.now() + 10_000 }, (error, response) => {
      if (error) reject(error);
      else resolve(response);
    });
  });
}

/** The failure of a call that must fail. */
async function failure(failing: Promise<unknown>): Promise<ServiceError> {
  try {
    await failing;
  } catch (error) {
    return error as ServiceError;
  }
  throw new Error("the call did not fail");
}

/** Why the service refused an operation of a batch: undefined if something else than the service did. */
function info(refused: Status): ErrorInfo | undefined {
  const packed = refused.details.find((detail) => detail.typeUrl.endsWith("/google.rpc.ErrorInfo"));
  const found = packed && ErrorInfo.decode(packed.value);
  return found?.domain === "keepstate" ? found : undefined;
}

/** The status of a failed call, with its details. */
function statusOf(error: ServiceError): Status {
  const [packed] = error.metadata.get("grpc-status-details-bin");
  return packed instanceof Buffer ? Status.decode(packed) : Status.create({ code: error.code });
}

/** Tells reasons apart as far as it knows them. What a newer service says is known by its code. */
function meaning(refused: Status): string {
  const reason = info(refused)?.reason ?? "";
  const known = ["RECORD_NOT_FOUND", "RECORD_ALREADY_EXISTS", "ETAG_MISMATCH"].includes(reason);
  return known ? reason : (status[refused.code] ?? "UNKNOWN");
}

const seen: Record<string, unknown> = {};
const name = (key: string) => ({ namespace: "plain-node", key });
const absent = { condition: { $case: "absent", value: true } } as const;

const missing = await failure(call(state.get, GetRequest.create({ name: name("nobody") })));
seen["missing"] = meaning(statusOf(missing));

const put = PutRequest.create({
  name: name("user:7"),
  value: Uint8Array.from([0x00, 0xff]),
  contentType: "application/octet-stream",
  precondition: absent,
});
const { etag } = await call(state.put, put);
const refused = statusOf(await failure(call(state.put, put)));
seen["put again"] = meaning(refused);
seen["its etag is told"] = info(refused)?.metadata["etag"] === etag;

const read = await call(state.get, GetRequest.create({ name: put.name }));
seen["value"] = Buffer.from(read.record?.value ?? []).toString("base64");

put.precondition = { condition: { $case: "etag", value: etag } };
await call(state.put, put);
seen["put with an old etag"] = meaning(statusOf(await failure(call(state.put, put))));

const [now = ""] = missing.metadata.get("keepstate-time");
const increment = UpdateRequest.create({
  name: name("hits"),
  update: { $case: "increment", value: { delta: 1n } },
  request: { client: randomBytes(8).readBigUInt64LE() | 1n, number: 1n, firstSent: new Date(now.toString()) },
});
const answers: string[] = [];
for (const attempt of [0, 1, 2]) {
  // as if the answers had been lost
  if (increment.request) increment.request.attempt = attempt;
  const { record, repeated } = await call(state.update, increment);
  answers.push(`${Buffer.from(record?.value ?? []).toString()} ${repeated}`);
}
seen["repeats"] = answers;

const batch = BatchRequest.create({
  operations: [
    { operation: { $case: "put", value: { name: name("a"), value: Buffer.from("1") } } },
    { operation: { $case: "get", value: { name: name("nobody") } } },
    { operation: { $case: "get", value: { name: name("a") } } },
  ],
});
const { results } = await call(state.batch, batch);
seen["batch"] = results.map(({ result }) => {
  if (result?.$case === "error") return meaning(result.value);
  return result?.$case === "get" ? Buffer.from(result.value.record?.value ?? []).toString() : result?.$case;
});

const moved = TransactRequest.create({
  checks: [{ name: name("nobody"), precondition: absent }],
  puts: [{ name: name("b"), value: Buffer.from("1"), precondition: absent }],
  deletes: [{ name: name("a") }],
});
const done = await call(state.transact, moved);
seen["transaction"] = [done.puts[0]?.etag !== "", done.deletes[0]?.existed];
const again = statusOf(await failure(call(state.transact, moved)));
seen["transaction again"] = meaning(again);
seen["its record is told"] = info(again)?.metadata["key"];

console.log(JSON.stringify(seen));
state.close();
