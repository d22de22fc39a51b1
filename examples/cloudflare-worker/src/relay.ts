/**
 * A caller's WebSocket joined to the model's.
 *
 * Frames go across as they are, text as text and bytes as bytes. Where one side ends, the other is
 * ended with the same code and reason; where it just breaks off, there is no code to pass on, and
 * the other is told what happened. After `CloseStream` Flux closes without a code, and so do we.
 */

import type { FluxInputs } from "./query";
import { Refusal } from "./refusal";

/** Bytes of one message from a caller: 80 ms of the densest audio are 7,680. */
const MAX_MESSAGE = 64 * 1024;

/** Bytes that may wait for the model: half a minute at 16 kHz. Then it has stopped listening. */
const MAX_WAITING = 1024 * 1024;

/** Milliseconds the model has to answer. */
const OPENING = 10_000;

const encoder = new TextEncoder();

/** Opens the model and joins the caller to it. Throws a Refusal (502) if the model does not open. */
export async function relay(ai: Ai, inputs: FluxInputs): Promise<Response> {
  const model = await open(ai, inputs);
  const { 0: outside, 1: caller } = new WebSocketPair();
  join(caller, model);
  return new Response(null, { status: 101, webSocket: outside });
}

async function open(ai: Ai, inputs: FluxInputs): Promise<WebSocket> {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), OPENING);
  let answer: Response;
  try {
    // The published schema has one keyterm only; the service takes a list as well.
    const typed = inputs as AiModels["@cf/deepgram/flux"]["inputs"];
    answer = await ai.run("@cf/deepgram/flux", typed, { websocket: true, signal: giveUp.signal });
  } catch (error) {
    const why = giveUp.signal.aborted
      ? `did not answer within ${OPENING / 1000} s`
      : "cannot be reached";
    note("flux_unreachable", { error: error instanceof Error ? error.name : "unknown" });
    throw new Refusal(502, `Workers AI ${why}.`);
  } finally {
    clearTimeout(timer);
  }
  if (answer.webSocket === null) {
    note("flux_refused", { status: answer.status });
    throw new Refusal(502, `Workers AI answered ${answer.status}${await reason(answer)}`);
  }
  return answer.webSocket;
}

/** Why it refused, from one of the forms of its errors; empty if it does not say. */
async function reason(answer: Response): Promise<string> {
  try {
    const said = await answer.json<{
      description?: string;
      errors?: { code?: number; message?: string }[];
    }>();
    const [first] = said.errors ?? [];
    const words =
      first === undefined ? (said.description ?? "") : `${first.code ?? ""} ${first.message ?? ""}`;
    return words.trim() === "" ? "" : `: ${words.trim().slice(0, 300)}`;
  } catch {
    return ""; // a page of some proxy, or nothing
  }
}

function join(caller: WebSocket, model: WebSocket): void {
  const began = Date.now();
  let bytes = 0;
  let open = true;

  const finish = (by: string, code: number, tell: () => void): void => {
    if (!open) return;
    open = false;
    tell(); // the runtime answers the close of a side that closed by itself
    note("flux_closed", { by, code, seconds: (Date.now() - began) / 1000, bytes });
  };
  const giveUp = (code: number, reason: string): void => {
    finish("worker", code, () => {
      close(caller, code, reason);
      close(model, 1000, "");
    });
  };

  caller.addEventListener("message", ({ data }) => {
    if (!open) return;
    const size = typeof data === "string" ? encoder.encode(data).byteLength : data.byteLength;
    bytes += size;
    if (size > MAX_MESSAGE) {
      giveUp(1009, `a message has at most ${MAX_MESSAGE} bytes`);
    } else {
      model.send(data);
      if (model.bufferedAmount > MAX_WAITING) giveUp(1011, "the model takes no more audio");
    }
  });
  model.addEventListener("message", ({ data }) => {
    if (open) caller.send(data);
  });
  onEnd(caller, "the caller is gone", (code, reason) => {
    finish("caller", code, () => close(model, code, reason));
  });
  onEnd(model, "the connection to the model broke off", (code, reason) => {
    finish("model", code, () => close(caller, code, reason));
  });
  // The default is Blob, and a Blob is sent on as the text "[object Blob]".
  caller.binaryType = model.binaryType = "arraybuffer";
  model.accept();
  caller.accept();
}

/** Calls `ended` when this side has closed or broken off, with a code that can be sent on. */
function onEnd(
  socket: WebSocket,
  broken: string,
  ended: (code: number, reason: string) => void,
): void {
  socket.addEventListener("close", ({ code, reason }) => {
    if (code === NO_CODE || canBeSent(code)) ended(code, reason);
    else ended(1011, broken);
  });
  // workerd follows an error up with a close; if one does not come, this is the end as well.
  socket.addEventListener("error", () => ended(1011, broken));
}

/** What a close without a code looks like (RFC 6455, 7.4.1); it cannot be sent, only be left out. */
const NO_CODE = 1005;

function close(socket: WebSocket, code: number, reason: string): void {
  if (code === NO_CODE) socket.close();
  else socket.close(code, reason);
}

/** RFC 6455, 7.4: what stands for a lost connection, or for a kind of failure below, is not sent. */
function canBeSent(code: number): boolean {
  return (
    (code >= 3000 && code <= 4999) ||
    (code >= 1000 && code <= 1014 && ![1004, NO_CODE, 1006].includes(code))
  );
}

function note(event: string, facts: Record<string, string | number>): void {
  console.log(JSON.stringify({ event, ...facts }));
}
