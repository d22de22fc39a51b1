/**
 * Who may use the Worker: whoever has its secret, or a token that was signed with it and is not old.
 *
 * A browser cannot set headers on a WebSocket, and must not be given the secret; so a page, or the
 * server behind it, fetches a signed token and puts it into the URL. Such a token is the time it
 * expires at, in seconds since 1970, a dot, and the HMAC-SHA256 of that in base64url. It opens
 * connections until then; one that is open goes on.
 */

import { Refusal } from "./refusal";

/** Seconds for which a signed token opens connections. */
export const TOKEN_SECONDS = 60;

/** A shorter secret could be guessed from a signed token. */
const LEAST_SECRET = 16;

const encoder = new TextEncoder();

/** The secret. Throws a Refusal if there is none worth the name: then nobody comes in. */
export function secretOf(env: { FLUX_TOKEN?: string }): string {
  const secret = env.FLUX_TOKEN ?? "";
  if (secret.length < LEAST_SECRET) {
    throw new Refusal(
      503,
      `This Worker has no FLUX_TOKEN of at least ${LEAST_SECRET} characters: npx wrangler secret put FLUX_TOKEN`,
    );
  }
  return secret;
}

/** Throws a Refusal unless the request has `Authorization: Bearer` and the secret. */
export async function checkBearer(request: Request, secret: string): Promise<void> {
  const given = request.headers.get("Authorization");
  if (given === null) throw unauthorized("Send Authorization: Bearer and the token.");
  const token = /^Bearer +(\S+) *$/i.exec(given)?.[1];
  if (token === undefined)
    throw unauthorized("The Authorization header has to be: Bearer and the token.");
  if (!(await isSame(token, secret))) throw unauthorized("The token is wrong.");
}

/** Throws a Refusal unless the request has the secret, or a signed token as `?token=`. */
export async function checkCaller(request: Request, url: URL, secret: string): Promise<void> {
  const tokens = url.searchParams.getAll("token");
  if (request.headers.has("Authorization") || tokens.length === 0) {
    await checkBearer(request, secret);
    return;
  }
  const [token] = tokens;
  if (token === undefined || tokens.length > 1) throw unauthorized("Give one token.");
  await checkSigned(token, secret);
}

/** A signed token for connections that open within `TOKEN_SECONDS`. */
export async function mint(secret: string): Promise<string> {
  const expires = Math.floor(Date.now() / 1000) + TOKEN_SECONDS;
  const signature = await crypto.subtle.sign("HMAC", await keyOf(secret), signed(expires));
  return `${expires}.${toBase64Url(signature)}`;
}

async function checkSigned(token: string, secret: string): Promise<void> {
  const parts = /^(\d{1,12})\.([A-Za-z0-9_-]{43})$/.exec(token);
  if (parts?.[1] === undefined || parts[2] === undefined) {
    throw unauthorized("The signed token is malformed: POST /token gives one.");
  }
  const expires = Number(parts[1]);
  // The comparison in it takes as long whatever is wrong.
  const genuine = await crypto.subtle.verify(
    "HMAC",
    await keyOf(secret),
    fromBase64Url(parts[2]),
    signed(expires),
  );
  if (!genuine) throw unauthorized("The signed token is wrong.");
  if (Date.now() / 1000 >= expires)
    throw unauthorized("The signed token has expired: POST /token gives another.");
}

/** Compares in a time that tells nothing of either, their lengths included. */
async function isSame(one: string, other: string): Promise<boolean> {
  const [left, right] = await Promise.all(
    [one, other].map((text) => crypto.subtle.digest("SHA-256", encoder.encode(text))),
  );
  return left !== undefined && right !== undefined && crypto.subtle.timingSafeEqual(left, right);
}

function keyOf(secret: string): Promise<CryptoKey> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, [
    "sign",
    "verify",
  ]);
}

/** What is signed; it names its purpose, so that no other signature of the same secret fits. */
function signed(expires: number): Uint8Array {
  return encoder.encode(`agentkit flux token ${expires}`);
}

function toBase64Url(bytes: ArrayBuffer): string {
  return new Uint8Array(bytes).toBase64({ alphabet: "base64url", omitPadding: true });
}

function fromBase64Url(text: string): Uint8Array {
  return Uint8Array.fromBase64(text, { alphabet: "base64url" });
}

function unauthorized(message: string): Refusal {
  return new Refusal(401, message, { headers: { "WWW-Authenticate": "Bearer" } });
}
