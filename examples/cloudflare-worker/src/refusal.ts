/** Answers that say no, and why: JSON with `error`, and `field` where one parameter is at fault. */

/** Thrown where a request cannot be served; `answer` makes the response. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly more: { field?: string; headers?: Record<string, string> } = {},
  ) {
    super(message);
  }

  answer(): Response {
    const { field, headers } = this.more;
    return Response.json(
      { error: this.message, ...(field === undefined ? {} : { field }) },
      {
        status: this.status,
        headers: { "Cache-Control": "no-store", ...headers },
      },
    );
  }
}
