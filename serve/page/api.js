// Talking to this server: JSON, errors as one line, and answers as they stream.

const KEPT = "trimtab-key";
let key = sessionStorage.getItem(KEPT) ?? "";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useKey(given) {
  key = given.trim();
  sessionStorage.setItem(KEPT, key);
}

async function fetched(path, { method = "GET", body, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, body: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer; is it still running?");
  }
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    throw new Refused(response.status, said?.error?.message ?? `The server answered ${response.status}.`);
  }
  return response;
}

export async function asked(path, options) {
  return (await fetched(path, options)).json();
}

// The chunks of a chat completion, as they come.
export async function* streamed(body, signal) {
  const sent = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await fetched("/v1/chat/completions", { method: "POST", body: sent, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refused(0, chunk.error.message);
      yield chunk;
    }
  }
}
