import { mustBeAsMany } from "./batch.js";
import type { Connection } from "./connection.js";
import type { Record as RecordMessage } from "./gen/keepstate/v1/record.js";
import { StateServiceService } from "./gen/keepstate/v1/state_service.js";
import type { CallOptions } from "./operations.js";
import type { RecordName } from "./records.js";

/** Reads the records of these names, 1 to 100, in their order. Undefined: there is none. */
export async function readSnapshot(
  connection: Connection,
  names: readonly RecordName[],
  options: CallOptions,
): Promise<(RecordMessage | undefined)[]> {
  const message = { names: [...names] };
  const { items } = await connection.call(StateServiceService.snapshot, message, undefined, options);
  mustBeAsMany(items, names, false);
  return items.map(({ record }) => record);
}
