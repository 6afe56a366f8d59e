// Runs in the browser, on the application's own page: the published clients of what the application offers. Each
// function does its work and returns what happened, as plain values.

import { Client } from "@stomp/stompjs";
import { io } from "socket.io-client";
import SockJS from "sockjs-client";

const TEXT = "안녕하세요: \\ \"STOMP\"\nGrüße 👩‍👩‍👧";

const soon = (what, begin, ms = 15_000) => new Promise((resolve, reject) => {
  setTimeout(() => reject(new Error(`${what}: not within ${ms / 1000} s`)), ms);
  begin(resolve, reject);
});

const hexadecimal = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

// Random bytes: nothing on the way may find anything in them.
function noise(length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(at + 65_536, length)));
  return bytes;
}

window.application = {
  /** A chat by STOMP over SockJS with this transport: says a word and hears it again. */
  stomp: (transport) => soon(`STOMP over ${transport}`, (resolve, reject) => {
    let about;
    const client = new Client({
      webSocketFactory: () => new SockJS("/chat", null, { transports: [transport] }),
      reconnectDelay: 0,
      onStompError: ({ headers }) => reject(new Error(headers.message)),
      onWebSocketClose: ({ code, reason }) => reject(new Error(`closed with ${code} ${reason}`)),
      onConnect: ({ headers }) => {
        about = { transport: headers["x-transport"], url: headers["x-url"] };
        const topic = `/topic/${transport}-${Math.random()}`;
        client.subscribe(topic, ({ body }) => {
          client.onWebSocketClose = () => {};
          client.deactivate().then(() => resolve({ ...about, isTheSame: body === TEXT }));
        });
        client.publish({ destination: topic, body: TEXT });
      },
    });
    client.activate();
  }),

  /** socket.io: as it comes (polling that becomes a WebSocket), or over one transport alone. */
  socketIo: (transports) => soon(`socket.io over ${transports ?? "what it chooses"}`, (resolve, reject) => {
    const socket = io({ path: "/socket.io", reconnection: false, forceNew: true, ...(transports ? { transports } : {}) });
    const bytes = noise(1_000_000);
    const say = () => socket.emit("say", bytes, ({ value, transport }) => {
      socket.disconnect();
      resolve({ transport, isTheSame: hexadecimal(value) === hexadecimal(bytes) });
    });
    socket.on("connect_error", reject);
    socket.on("connect", () => (transports ? say() : null));
    socket.io.engine.once("upgrade", say);
  }),

  /** A WebSocket: words, large binary messages, the chosen protocol, the other side's code on closing. */
  webSocket: () => soon("a WebSocket", (resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/group-call?room=hall`, ["first", "second"]);
    socket.binaryType = "arraybuffer";
    const bytes = noise(2_000_000);
    const heard = [];
    socket.onerror = () => reject(new Error("refused"));
    socket.onopen = () => {
      socket.send(TEXT);
      socket.send(bytes);
      socket.send("leave");
    };
    socket.onmessage = ({ data }) => heard.push(data);
    socket.onclose = ({ code, reason }) => resolve({
      code,
      reason,
      protocol: socket.protocol,
      handshake: JSON.parse(heard[0]),
      isTheSame: heard[1] === TEXT && hexadecimal(heard[2]) === hexadecimal(bytes),
    });
  }, 20_000),

  /** A WebSocket on which nothing is said for so long, and then something is. */
  idle: (ms) => soon("an idle WebSocket", (resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}/group-call`);
    socket.onerror = () => reject(new Error("refused"));
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
    socket.onopen = () => setTimeout(() => {
      socket.onmessage = ({ data }) => resolve(data === TEXT);
      socket.send(TEXT);
    }, ms);
  }, ms + 10_000),

  /** Server-sent events: how long after its sending each one came. */
  events: (count) => soon("server-sent events", (resolve, reject) => {
    const source = new EventSource("/events");
    const seen = [];
    source.onerror = () => reject(new Error("the stream broke"));
    source.onmessage = ({ data, lastEventId }) => {
      seen.push({ id: Number(lastEventId), late: Date.now() - Number(data) });
      if (seen.length < count) return;
      source.close();
      resolve(seen);
    };
  }),

  /** What the application is told of a request with this method, path, headers and text. */
  async ask(method, path, { headers, text } = {}) {
    const response = await fetch(path, { method, headers, body: text });
    return { status: response.status, url: response.url, isRedirected: response.redirected, told: await response.json() };
  },

  async upload(length) {
    const bytes = noise(length);
    const own = hexadecimal(await crypto.subtle.digest("SHA-256", bytes));
    const response = await fetch("/upload?number=browser", { method: "POST", body: bytes });
    const told = await response.json();
    return { status: response.status, bytes: told.bytes, isTheSame: told.sha256 === own };
  },
};
