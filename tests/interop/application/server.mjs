// An application as users of OpenVidu have it: pages, an API, uploads, and everything that browsers keep open. It
// listens on plain HTTP, prints its port, and tells by /told what it has been asked.
//
//   node server.mjs [PORT]

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { build, stop } from "esbuild";
import { Server as SocketIo } from "socket.io";
import sockjs from "sockjs";
import { WebSocketServer } from "ws";
import { Broker } from "./stomp.mjs";

const MIB = 1024 * 1024;

const { outputFiles: [script] } = await build({
  entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
  bundle: true,
  write: false,
  format: "iife",
  logLevel: "error",
  define: { global: "window" },
});
await stop();

/** How much of each upload has come so far, by its number. */
const uploads = new Map();
let asked = 0;
let waiting = 0;
/** Requests that a scenario has hidden inside others: none of them may arrive. */
const smuggled = [];

async function digestOf(incoming, note = () => {}) {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of incoming) {
    hash.update(chunk);
    bytes += chunk.length;
    note(bytes);
  }
  return { bytes, sha256: hash.digest("hex") };
}

const json = (response, value, status = 200) =>
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));

/** Answers by path; the longest one wins. */
const answers = {
  "/": (_, response) => response.writeHead(200, { "content-type": "text/html; charset=utf-8" })
    .end('<!doctype html><title>application</title><script src="/application.js"></script>'),
  "/application.js": (_, response) => response.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(script.contents),
  "/favicon.ico": (_, response) => response.writeHead(204).end(),
  /** What came: nothing of it may have been changed on the way but what a proxy must change. */
  "/api/v1": async (request, response) => {
    const { method, url, headers, rawHeaders } = request;
    json(response, { method, url, headers, rawHeaders, ...(await digestOf(request)) }, method === "POST" ? 201 : 200);
  },
  "/upload": async (request, response) => {
    const number = new URL(request.url, "http://any").searchParams.get("number");
    if (request.method === "GET") {
      json(response, { bytes: uploads.get(number) ?? 0 });
    } else {
      json(response, await digestOf(request, (bytes) => uploads.set(number, bytes)));
    }
  },
  /** So many MiB, as fast as they are read. The digest comes last. */
  "/download": async (request, response) => {
    const hash = createHash("sha256");
    const mib = Number(new URL(request.url, "http://any").searchParams.get("mib"));
    response.writeHead(200, { "content-type": "application/octet-stream", trailer: "x-sha256" });
    const body = Readable.from((function* () {
      for (let left = mib; left > 0; left -= 1) {
        const chunk = Buffer.alloc(MIB, left);
        hash.update(chunk);
        yield chunk;
      }
    })(), { highWaterMark: 1 });
    await pipeline(body, response, { end: false });
    response.addTrailers({ "x-sha256": hash.digest("hex") });
    response.end();
  },
  /** Server-sent events, one every 300 ms until the reader leaves; each says when it was sent. */
  "/events": async (request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    for (let id = Number(request.headers["last-event-id"] ?? 0) + 1; !response.destroyed; id += 1) {
      response.write(`id: ${id}\ndata: ${Date.now()}\n\n`);
      await sleep(300);
    }
  },
  "/redirect": (_, response) => response.writeHead(302, { location: "/api/v1/arrived?by=redirect" }).end(),
  /** Sits on the request until the client gives up. */
  "/slow": async (_, response) => {
    waiting += 1;
    await once(response, "close");
    waiting -= 1;
  },
  "/told": (_, response) => json(response, { asked, waiting, smuggled }),
};

const server = createServer(async (request, response) => {
  const path = request.url.split("?")[0];
  if (path !== "/told") asked += 1;
  if (request.url.includes("smuggled")) smuggled.push(request.url);
  const match = Object.keys(answers)
    .filter((prefix) => path === prefix || path.startsWith(`${prefix}/`))
    .sort((one, other) => other.length - one.length)[0];
  try {
    if (match) await answers[match](request, response);
    else json(response, { error: `nothing at ${path}` }, 404);
  } catch {
    response.destroy();
  }
});
server.requestTimeout = 0;

// SockJS, with STOMP inside, as a Spring application offers it.
const broker = new Broker();
const chat = sockjs.createServer({ prefix: "/chat", log: () => {}, sockjs_url: "/application.js" });
chat.on("connection", (connection) => {
  const client = broker.join((frame) => connection.write(frame), { transport: connection.protocol, url: connection.url });
  connection.on("data", (text) => client.hear(text));
  connection.on("close", () => client.leave());
});

const sockets = new SocketIo({ maxHttpBufferSize: 8 * MIB });
sockets.on("connection", (socket) => {
  socket.on("say", (value, answer) => {
    answer({ value, transport: socket.conn.transport.name });
    socket.broadcast.emit("said", value);
  });
});

// A WebSocket of its own protocol, as the tutorials of Kurento have it.
const plain = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered].at(-1) });
plain.on("connection", (socket, request) => {
  socket.send(JSON.stringify({ url: request.url, headers: request.headers }));
  socket.on("message", (data, isBinary) => {
    if (!isBinary && `${data}` === "leave") socket.close(4001, "as you wish");
    else socket.send(data, { binary: isBinary });
  });
});

server.on("upgrade", (request, socket, head) => {
  const path = request.url.split("?")[0];
  if (path === "/group-call") plain.handleUpgrade(request, socket, head, (client) => plain.emit("connection", client, request));
  else if (path !== "/socket.io/") socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
});
// SockJS comes before whoever is there already and passes on what is not its own; socket.io listens beside them.
chat.installHandlers(server);
sockets.attach(server, { destroyUpgrade: false });

server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", () => console.log(server.address().port));
