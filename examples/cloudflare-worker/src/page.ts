/** The page at /, and the files that it is made of. */

import app from "./page/app.js";
import html from "./page/index.html";
import listener from "./page/listener.js";
import style from "./page/style.css";
import worklet from "./page/worklet.js";

const FILES: Record<string, { type: string; text: string }> = {
  "/": { type: "text/html", text: html },
  "/app.js": { type: "text/javascript", text: app },
  "/listener.js": { type: "text/javascript", text: listener },
  "/style.css": { type: "text/css", text: style },
  "/worklet.js": { type: "text/javascript", text: worklet },
};

/** The file at this path, or undefined if there is none. */
export function page(url: URL): Response | undefined {
  const file = Object.hasOwn(FILES, url.pathname) ? FILES[url.pathname] : undefined;
  if (file === undefined) return undefined;
  const headers = { "Content-Type": `${file.type}; charset=utf-8`, ...guards(url) };
  return new Response(file.text, { headers });
}

/** The page needs itself, its socket and the microphone, and gets nothing else. */
function guards(url: URL): Record<string, string> {
  const socket = `${url.protocol === "https:" ? "wss" : "ws"}://${url.host}`;
  return {
    "Cache-Control": "no-cache",
    "Content-Security-Policy":
      `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ${socket}; ` +
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
  };
}
