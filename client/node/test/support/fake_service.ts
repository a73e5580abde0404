import {
  Metadata,
  Server,
  ServerCredentials,
  status as Code,
  type sendUnaryData,
  type ServerUnaryCall,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";

import { BadRequest, ErrorInfo, RetryInfo } from "../../src/gen/google/rpc/error_details.js";
import { Status } from "../../src/gen/google/rpc/status.js";
import type { RequestId } from "../../src/gen/keepstate/v1/record.js";
import { StateServiceService } from "../../src/gen/keepstate/v1/state_service.js";
import { StoreServiceService } from "../../src/gen/keepstate/v1/store_service.js";

/** What a failed call or operation is answered with. */
export interface RefusalFields {
  readonly reason?: string;
  readonly domain?: string;
  readonly message?: string;
  readonly metadata?: Record<string, string>;
  readonly violations?: Record<string, string>;
  readonly retryAfterMs?: number;
}

/** A status with the details that the service gives. */
export function statusOf(code: Code, fields: RefusalFields = {}): Status {
  const { reason, domain = "keepstate", message = "refused", metadata = {}, violations, retryAfterMs } = fields;
  const details = [];
  if (reason !== undefined) details.push(packed("ErrorInfo", ErrorInfo.encode({ reason, domain, metadata }).finish()));
  if (violations !== undefined) {
    const fieldViolations = Object.entries(violations).map(([field, description]) => ({
      field,
      description,
      reason: "",
      localizedMessage: undefined,
    }));
    details.push(packed("BadRequest", BadRequest.encode({ fieldViolations }).finish()));
  }
  if (retryAfterMs !== undefined) {
    const retryDelay = { seconds: BigInt(Math.trunc(retryAfterMs / 1000)), nanos: (retryAfterMs % 1000) * 1e6 };
    details.push(packed("RetryInfo", RetryInfo.encode({ retryDelay }).finish()));
  }
  return { code, message, details };
}

function packed(name: string, value: Uint8Array): { typeUrl: string; value: Uint8Array } {
  return { typeUrl: `type.googleapis.com/google.rpc.${name}`, value };
}

/** Thrown by a handler: the call fails so. */
export class Refusal extends Error {
  readonly code: Code;
  readonly status: Status;
  /** Sent in the place of the details. */
  readonly details: Buffer | undefined;

  constructor(code: Code, fields: RefusalFields & { readonly details?: Buffer } = {}) {
    super("refused");
    this.code = code;
    this.status = statusOf(code, fields);
    this.details = fields.details;
  }
}

/** What arrived. */
export interface Arrived {
  readonly method: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- each test knows what it has sent
  readonly message: any;
  /** The request of a single write, as it was then. */
  readonly request: RequestId | undefined;
  readonly metadata: Metadata;
  /** Milliseconds that the caller gave it. */
  readonly ms: number;
  /** Resolves when the caller has ended the call. */
  readonly cancelled: Promise<void>;
}

type Handler = (call: Arrived) => unknown;

/** A service on loopback that answers as a test says, one handler a method. */
export class FakeService {
  /** All calls but those for the time, which is asked for before a first write. */
  readonly arrived: Arrived[] = [];

  /** How often the time was asked for. */
  asked = 0;

  /** By the method's name in the stubs, e.g. "put". */
  readonly handlers: Record<string, Handler> = {};

  /** What answers say the time is. Undefined: they say nothing. */
  time: string | undefined = "2030-06-01T12:00:00.000Z";

  address = "";
  readonly #server = new Server({ "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": -1 });

  async start(port = 0, credentials = ServerCredentials.createInsecure()): Promise<this> {
    this.#server.addService(StateServiceService, this.#implement(StateServiceService));
    this.#server.addService(StoreServiceService, this.#implement(StoreServiceService));
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, credentials, (error, found) => {
        if (error === null) resolve(found);
        else reject(error);
      });
    });
    this.address = `127.0.0.1:${bound}`;
    return this;
  }

  /** Ends at once, with the calls that are under way. */
  stop(): void {
    this.#server.forceShutdown();
  }

  #implement(service: object): UntypedServiceImplementation {
    const names = Object.keys(service);
    return Object.fromEntries(
      names.map((name) => [
        name,
        (call: ServerUnaryCall<unknown, unknown>, done: sendUnaryData<unknown>) => void this.#answer(name, call, done),
      ]),
    );
  }

  async #answer(method: string, call: ServerUnaryCall<unknown, unknown>, done: sendUnaryData<unknown>): Promise<void> {
    const trailers = new Metadata();
    if (this.time !== undefined) trailers.set("keepstate-time", this.time);
    const handler = this.handlers[method];
    const message = structuredClone(call.request);
    const request = (message as { request?: RequestId }).request;
    const cancelled = new Promise<void>((resolve) => call.on("cancelled", resolve));
    const deadline = call.getDeadline();
    const ms = (deadline instanceof Date ? deadline.getTime() : deadline) - Date.now();
    const arrived = { method, message, request, metadata: call.metadata, ms, cancelled };
    if (method === "getStore" && handler === undefined) {
      this.asked += 1;
      done(null, { store: undefined }, trailers);
      return;
    }
    this.arrived.push(arrived);
    try {
      if (handler === undefined) throw new Refusal(Code.UNIMPLEMENTED);
      done(null, await handler(arrived), trailers);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, status, details } = error;
      trailers.set("grpc-status-details-bin", details ?? Buffer.from(Status.encode(status).finish()));
      done({ code, details: status.message, metadata: trailers });
    }
  }
}

/** A handler that does what each of these says, one call after the other; a Refusal is thrown. */
export function inTurn(...answers: readonly unknown[]): Handler {
  const left = [...answers];
  return (call) => {
    const next = left.shift();
    if (next instanceof Error) throw next;
    return typeof next === "function" ? (next as Handler)(call) : next;
  };
}

/** A record as the service answers it. */
export function recordOf(key: string, value: string, etag = "e1"): Record<string, unknown> {
  return {
    name: { store: "main", namespace: "", key },
    value: Buffer.from(value),
    contentType: "application/json",
    etag,
    createTime: undefined,
    updateTime: undefined,
    expireTime: undefined,
  };
}
