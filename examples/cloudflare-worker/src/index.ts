/**
 * Flux on Workers AI, for those who have a token.
 *
 *   GET  /flux    a WebSocket that speaks Flux; the query is the model's
 *   POST /token   a signed token for such a WebSocket, for browsers
 *   GET  /        a page that listens to the microphone and shows the turns
 */

import { checkBearer, checkCaller, mint, secretOf, TOKEN_SECONDS } from "./auth";
import { checkOrigin, preflight, shared } from "./origins";
import { page } from "./page";
import { parseQuery } from "./query";
import { Refusal } from "./refusal";
import { relay } from "./relay";

export interface Env {
  AI: Ai;
  /** The secret: at least 16 characters. */
  FLUX_TOKEN?: string;
  /** Origins of other sites whose pages may come in, between commas. */
  ALLOWED_ORIGINS?: string;
  /** "true": on this machine, /token needs no secret. */
  DEV_TOKENS?: string;
}

export default {
  async fetch(request, env): Promise<Response> {
    const url = new URL(request.url);
    try {
      if (url.pathname !== "/flux" && url.pathname !== "/token") return file(request, url);
      checkOrigin(request, url, env.ALLOWED_ORIGINS ?? "");
      return shared(request, await serve(request, url, env));
    } catch (error) {
      if (error instanceof Refusal) return error.answer();
      throw error;
    }
  },
} satisfies ExportedHandler<Env>;

function file(request: Request, url: URL): Response {
  const found = page(url);
  if (found === undefined) throw new Refusal(404, "There is /flux, /token and / here.");
  allowMethods(request, "GET", "HEAD");
  return found;
}

async function serve(request: Request, url: URL, env: Env): Promise<Response> {
  try {
    return await (url.pathname === "/flux" ? flux : token)(request, url, env);
  } catch (error) {
    // Answered here, so that pages of allowed origins can read it.
    if (error instanceof Refusal) return error.answer();
    throw error;
  }
}

async function flux(request: Request, url: URL, env: Env): Promise<Response> {
  allowMethods(request, "GET");
  await checkCaller(request, url, secretOf(env));
  const inputs = parseQuery(url.searchParams);
  // A page cannot read why its socket was refused; it asks again without one, and reads this or why.
  if (request.headers.get("Upgrade")?.toLowerCase() !== "websocket") {
    throw new Refusal(426, "Flux is a WebSocket.");
  }
  return relay(env.AI, inputs);
}

async function token(request: Request, url: URL, env: Env): Promise<Response> {
  allowMethods(request, "POST", "OPTIONS");
  if (request.method === "OPTIONS") return preflight();
  const secret = secretOf(env);
  if (!isDevelopment(url, env)) await checkBearer(request, secret);
  const answer = { token: await mint(secret), expires_in: TOKEN_SECONDS };
  return Response.json(answer, { headers: { "Cache-Control": "no-store" } });
}

/** On this machine only: a Worker that is deployed has none of these names. */
function isDevelopment(url: URL, env: Env): boolean {
  return env.DEV_TOKENS === "true" && ["localhost", "127.0.0.1", "[::1]"].includes(url.hostname);
}

function allowMethods(request: Request, ...methods: string[]): void {
  if (!methods.includes(request.method)) {
    const headers = { Allow: methods.join(", ") };
    throw new Refusal(405, `Use ${methods.join(" or ")} here.`, { headers });
  }
}
