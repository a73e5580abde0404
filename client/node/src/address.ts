import { isIPv4 } from "node:net";

import { UsageError } from "./errors.js";

/** Where the service is. */
export interface Address {
  /** As gRPC takes it. */
  readonly target: string;
  /** Whether it is this machine's loopback, which what is sent does not leave. */
  readonly isLoopback: boolean;
}

/**
 * Takes an address apart.
 *
 * @throws UsageError it is not a host and a port.
 */
export function parseAddress(address: string): Address {
  const words = "address must be host:port, e.g. localhost:7400 or [::1]:7400";
  if (typeof address !== "string") throw new UsageError(words);
  if (address.includes("://")) throw new UsageError(`${words}, without a scheme`);
  const [, host = "", port = ""] = /^(\[[0-9a-fA-F:.]+\]|[^\s:/@?#[\]]+):(\d{1,5})$/.exec(address) ?? [];
  if (host === "" || Number(port) < 1 || Number(port) > 65535) throw new UsageError(words);
  return {
    // With its scheme, as a host may be called "dns" or "unix".
    target: `dns:${address}`,
    isLoopback: host.toLowerCase() === "localhost" || (isIPv4(host) && host.startsWith("127.")) || host === "[::1]",
  };
}
