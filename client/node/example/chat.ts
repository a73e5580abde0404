/**
 * The last messages of a chat: several people write at once, the newest 50 messages are kept, and the chat is forgotten
 * a day after its last message.
 *
 *     node build/example/chat.js ada "Good morning"
 *
 * KEEPSTATE names the service, localhost:7400 by default.
 */
import { Client, isKeepstateError, json } from "@keepstate/client";

interface Message {
  readonly from: string;
  readonly text: string;
  readonly at: string;
}

const LENGTH = 50;
const DAY = 24 * 60 * 60 * 1000;

const [from = "somebody", text = "hello"] = process.argv.slice(2);
await using state = new Client(process.env["KEEPSTATE"] ?? "localhost:7400");
const chats = state.namespace("chats").using(json<Message[]>());

try {
  // The service appends, so that no message is lost where two write at once, and a lost answer does not double one.
  const message: Message = { from, text, at: new Date().toISOString() };
  await chats.append("lobby", [message], { maxLength: LENGTH, ttlMs: DAY });

  // Reading keeps a chat alive, too.
  for (const each of (await chats.get("lobby", { slideTtlMs: DAY })) ?? []) {
    console.log(`${each.at}  ${each.from}: ${each.text}`);
  }
} catch (error) {
  if (!isKeepstateError(error)) throw error;
  switch (error.kind) {
    case "OutcomeUnknown":
      console.error("The message may have been written. Look before you write it again.");
      break;
    case "Unavailable":
    case "DeadlineExceeded":
      console.error("The service does not answer. The message was not written.");
      break;
    default:
      console.error(error.message);
  }
  process.exitCode = 1;
}
