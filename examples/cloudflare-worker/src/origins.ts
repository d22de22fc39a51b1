/**
 * Which sites' pages may use the Worker: its own, and those of ALLOWED_ORIGINS.
 *
 * Programs send no Origin, and need only their token.
 */

import { Refusal } from "./refusal";

/** Throws a Refusal if the request comes from a page of another site that is not allowed. */
export function checkOrigin(request: Request, url: URL, allowed: string): void {
  const origin = request.headers.get("Origin");
  if (origin === null || origin === url.origin) return;
  const known = allowed.split(",").map((each) => each.trim());
  if (!known.includes(origin)) {
    throw new Refusal(
      403,
      "Pages of this origin may not use the Worker: ALLOWED_ORIGINS does not have it.",
    );
  }
}

/** The answer, readable for a page of the request's origin, which `checkOrigin` has let pass. */
export function shared(request: Request, response: Response): Response {
  if (response.webSocket !== null) return response;
  const answer = new Response(response.body, response);
  answer.headers.append("Vary", "Origin");
  const origin = request.headers.get("Origin");
  if (origin !== null) answer.headers.set("Access-Control-Allow-Origin", origin);
  return answer;
}

/** The answer to what a browser asks before a page of another site sends a token. */
export function preflight(): Response {
  const headers = {
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization",
    "Access-Control-Max-Age": "600",
  };
  return new Response(null, { status: 204, headers });
}
