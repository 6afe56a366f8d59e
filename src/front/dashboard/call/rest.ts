// The two REST calls that put somebody into a room. An application makes them on its own server, where
// the secret belongs; this page is for whoever knows the secret anyway.

const API = new URL("/openvidu/api/", location.href);
const TIMEOUT_MS = 10_000;

/** A request that the server refused, or that never reached it. The message is for people. */
export class RestError extends Error {}

/** Opens `room` if it does not exist and returns a token for one participant. */
export async function tokenFor(room: string, secret: string): Promise<string> {
  // 409: somebody else has opened the room already.
  await post("sessions", { customSessionId: room }, secret, [200, 409]);
  const connection = await post(`sessions/${encodeURIComponent(room)}/connection`, { role: "PUBLISHER" }, secret, [200]);
  if (typeof connection?.token !== "string") throw new RestError("The server gave no token.");
  return connection.token;
}

async function post(path: string, body: unknown, secret: string, accepted: number[]): Promise<{ token?: unknown } | null> {
  let response: Response;
  try {
    response = await fetch(new URL(path, API), {
      method: "POST",
      headers: {
        Authorization: basic("OPENVIDUAPP", secret),
        "Content-Type": "application/json",
        // Without a challenge in the answer, no browser asks for a password in a window of its own.
        "X-Requested-With": "XMLHttpRequest",
      },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    throw new RestError("The server does not answer.");
  }
  if (!accepted.includes(response.status)) throw new RestError(refusal(response.status));
  return response.status === 200 ? await response.json() : null;
}

function refusal(status: number): string {
  switch (status) {
    case 401:
      return "The secret is not right.";
    case 400:
      return "The server does not accept this room name.";
    case 403:
      return "The server does not allow rooms to be opened from here.";
    case 404:
      return "The room closed in this very moment. Please try again.";
    case 429:
      return "Too many wrong secrets. Please wait a minute.";
    default:
      return `The server refused with status ${status}.`;
  }
}

function basic(user: string, password: string): string {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}
