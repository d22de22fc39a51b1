/**
 * The query of /flux, checked against the model's published schema before the model is asked.
 *
 * Sources: developers.cloudflare.com/workers-ai/models/flux, whose inputs are all strings; where it
 * gives no bounds (`sample_rate`, `eot_timeout_ms`, lengths), Deepgram's for that version of Flux.
 */

import { Refusal } from "./refusal";

type Schema = AiModels["@cf/deepgram/flux"]["inputs"];
type Field = keyof Schema;

/** What the model is told. Several keyterms are a list, as in Cloudflare's own voice package. */
export type FluxInputs = Omit<Schema, "keyterm"> & { keyterm?: string | string[] };

const MOST_KEYTERMS = 100;

/** In force where the query names none. */
const DEFAULT_EOT_THRESHOLD = 0.7;

/** What a field may be: whether a value is, and how to say it. */
interface Rule {
  fits: (value: string) => boolean;
  allowed: string;
}

const RULES: Record<Field, Rule> = {
  encoding: oneOf("linear16"),
  sample_rate: oneOf("8000", "16000", "24000", "44100", "48000"),
  eager_eot_threshold: between(0.3, 0.9, /^\d+(\.\d+)?$/, "a number"),
  eot_threshold: between(0.5, 0.9, /^\d+(\.\d+)?$/, "a number"),
  eot_timeout_ms: between(500, 10_000, /^\d+$/, "a whole number"),
  keyterm: text(100),
  mip_opt_out: oneOf("true", "false"),
  tag: text(128),
};

/** The model's inputs. Throws a Refusal (400) that names the field, the value and what is allowed. */
export function parseQuery(query: URLSearchParams): FluxInputs {
  for (const field of query.keys()) checkField(field, query.getAll(field));
  checkEager(query.get("eager_eot_threshold"), query.get("eot_threshold"));
  const singles = [...query].filter(([field]) => field !== "token" && field !== "keyterm");
  const [keyterm, ...others] = query.getAll("keyterm");
  return {
    ...Object.fromEntries(singles),
    encoding: required(query, "encoding", "linear16") as "linear16",
    sample_rate: required(query, "sample_rate", "16000"),
    ...(keyterm === undefined
      ? {}
      : { keyterm: others.length > 0 ? [keyterm, ...others] : keyterm }),
  };
}

function checkField(field: string, values: string[]): void {
  if (field === "token") return;
  if (!isField(field)) throw bad(field, unknown(field));
  const { fits, allowed } = RULES[field];
  for (const value of values) {
    if (!fits(value)) throw bad(field, `${field}=${shown(value)} is not allowed: ${allowed}`);
  }
  const most = field === "keyterm" ? MOST_KEYTERMS : 1;
  if (values.length > most) {
    throw bad(field, `${field} is given ${values.length} times: at most ${most} allowed`);
  }
}

function checkEager(eager: string | null, final: string | null): void {
  const limit = final === null ? DEFAULT_EOT_THRESHOLD : Number(final);
  if (eager === null || Number(eager) <= limit) return;
  const which = `eot_threshold, which is ${limit}${final === null ? " by itself" : ""}`;
  throw bad(
    "eager_eot_threshold",
    `eager_eot_threshold=${shown(eager)} is not allowed: it must not be above ${which}`,
  );
}

function required(query: URLSearchParams, field: Field, example: string): string {
  const value = query.get(field);
  if (value === null) throw bad(field, `${field} is missing: give ${field}=${example}`);
  return value;
}

function isField(name: string): name is Field {
  return Object.hasOwn(RULES, name);
}

function unknown(field: string): string {
  if (["model", "language", "language_hint"].includes(field)) {
    return `${field} is no parameter here: Workers AI has one Flux, for English; leave it out`;
  }
  const known = Object.keys(RULES).join(", ");
  return `${shown(field)} is no parameter of @cf/deepgram/flux; there are ${known}`;
}

function oneOf(...values: string[]): Rule {
  return { fits: (value) => values.includes(value), allowed: `allowed is ${values.join(", ")}` };
}

function between(low: number, high: number, form: RegExp, kind: string): Rule {
  return {
    fits: (value) => form.test(value) && low <= Number(value) && Number(value) <= high,
    allowed: `allowed is ${kind} from ${low} to ${high}`,
  };
}

function text(longest: number): Rule {
  return {
    fits: (value) => value.trim() !== "" && [...value].length <= longest,
    allowed: `allowed is text of 1 to ${longest} characters`,
  };
}

function bad(field: string, message: string): Refusal {
  return new Refusal(400, message, { field });
}

function shown(value: string): string {
  return JSON.stringify(value.length > 140 ? `${value.slice(0, 140)}...` : value);
}
