// A broker of STOMP 1.2 (https://stomp.github.io/stomp-specification-1.2.html), as much as a chat needs:
// CONNECT, SUBSCRIBE, UNSUBSCRIBE, SEND, receipts, DISCONNECT.

const escapes = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", ":": "\\c" };
const escaped = (text) => `${text}`.replace(/[\\\n\r:]/g, (letter) => escapes[letter]);
const unescapes = { "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\c": ":" };
const unescaped = (text) => text.replace(/\\[\\nrc]/g, (pair) => unescapes[pair]);

function frame(command, headers, body = "") {
  // CONNECTED is never escaped, for the sake of STOMP 1.0.
  const write = command === "CONNECTED" ? String : escaped;
  const lines = Object.entries({ ...headers, "content-length": Buffer.byteLength(body) }).map(([name, value]) => `${write(name)}:${write(value)}\n`);
  return `${command}\n${lines.join("")}\n${body}\0`;
}

function parse(text) {
  const [head, ...rest] = text.replace(/^[\r\n]+/, "").split(/\r?\n\r?\n/);
  const [command, ...lines] = head.split(/\r?\n/);
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[unescaped(line.slice(0, colon))] ??= unescaped(line.slice(colon + 1));
  }
  const body = rest.join("\n\n");
  return { command, headers, body: body.slice(0, body.lastIndexOf("\0")) };
}

export class Broker {
  #clients = new Set();
  #messages = 0;

  /** A new client: `write` sends it a frame; `about` is told to it in its CONNECTED frame. */
  join(write, about) {
    const client = { write, subscriptions: new Map(), hear: (text) => this.#hear(client, text, about), leave: () => this.#clients.delete(client) };
    this.#clients.add(client);
    return client;
  }

  #hear(client, text, about) {
    // A line feed alone is a heart-beat.
    if (/^[\r\n]*$/.test(text)) return;
    const { command, headers, body } = parse(text);
    if (command === "CONNECT" || command === "STOMP") {
      client.write(frame("CONNECTED", { version: "1.2", "heart-beat": "0,0", "x-transport": about.transport, "x-url": about.url }));
    } else if (command === "SUBSCRIBE") {
      client.subscriptions.set(headers.id, headers.destination);
    } else if (command === "UNSUBSCRIBE") {
      client.subscriptions.delete(headers.id);
    } else if (command === "SEND") {
      this.#deliver(headers, body);
    } else if (command !== "DISCONNECT") {
      client.write(frame("ERROR", { message: `${command} is not known` }));
    }
    if (headers.receipt) client.write(frame("RECEIPT", { "receipt-id": headers.receipt }));
  }

  #deliver({ destination, "content-type": type = "text/plain" }, body) {
    this.#messages += 1;
    for (const { write, subscriptions } of this.#clients) {
      for (const [subscription, wanted] of subscriptions) {
        if (wanted === destination) write(frame("MESSAGE", { destination, subscription, "message-id": this.#messages, "content-type": type }, body));
      }
    }
  }
}
