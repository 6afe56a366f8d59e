// Hostile HTTP, as bytes: what no client library can be made to send.

import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

/** A TLS connection; it takes any certificate. from: the address that it comes from; protocol: of ALPN */
export function dial({ hostname, port }, { from, protocol = "http/1.1" } = {}) {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: hostname, port, localAddress: from, ALPNProtocols: [protocol], rejectUnauthorized: false }, () => {
      socket.off("error", reject);
      // From now on an error is an answer.
      socket.on("error", () => {});
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/** A connection on which nothing is said, not even TLS. */
export function knock({ hostname, port }, { from } = {}) {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host: hostname, port, localAddress: from }, () => {
      socket.off("error", reject);
      socket.on("error", () => {});
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/**
 * What comes back on `socket` until it is closed or nothing has come for `patience` ms.
 */
export function listen(socket, patience = 2000) {
  return new Promise((resolve) => {
    const chunks = [];
    let timer;
    const done = (isClosed) => {
      clearTimeout(timer);
      resolve({ isClosed, bytes: Buffer.concat(chunks) });
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(done, patience, false);
    };
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      wait();
    });
    for (const end of ["end", "close"]) socket.once(end, () => done(true));
    wait();
  });
}

// What must never arrive by itself.
const HIDDEN = "GET /api/v1/smuggled HTTP/1.1\r\nHost: hidden\r\n\r\n";
const head = (...lines) => `POST /api/v1/outer HTTP/1.1\r\nHost: outer\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
const chunked = `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`;

/**
 * Requests that two readers may read differently, each with another one hidden in it: refused, and their connection closed.
 * Where `isRead`, RFC 9112 section 6.3 lets the coding count if the connection ends then; where `isHarmless`, it leaves one
 * way of reading only, in which the other one is part of a body.
 */
export const smuggling = {
  "both lengths": { text: `${head("Content-Length: 4", "Transfer-Encoding: chunked")}0\r\n\r\n${HIDDEN}`, isRead: true },
  "both lengths, the other way round": { text: `${head("Transfer-Encoding: chunked", `Content-Length: ${chunked.length}`)}0\r\n\r\n${HIDDEN}`, isRead: true },
  "an unknown coding": { text: `${head("Transfer-Encoding: xchunked", `Content-Length: ${HIDDEN.length}`)}${HIDDEN}` },
  "chunked is not the last coding": { text: `${head("Transfer-Encoding: chunked, identity")}0\r\n\r\n${HIDDEN}` },
  "two codings in two lines": { text: `${head("Transfer-Encoding: chunked", "Transfer-Encoding: cow")}0\r\n\r\n${HIDDEN}` },
  "a vertical tab before the coding": { text: `${head("Transfer-Encoding: \x0bchunked")}0\r\n\r\n${HIDDEN}` },
  "a blank before the colon": { text: `${head("Transfer-Encoding : chunked", "Content-Length: 5")}0\r\n\r\n${HIDDEN}` },
  "a folded line": { text: `${head("X: a\r\n b", "Transfer-Encoding:\r\n chunked", "Content-Length: 5")}0\r\n\r\n${HIDDEN}` },
  "two lengths": { text: `${head("Content-Length: 0", `Content-Length: ${HIDDEN.length}`)}${HIDDEN}` },
  "a list of lengths": { text: `${head(`Content-Length: 0, ${HIDDEN.length}`)}${HIDDEN}` },
  "a length with a sign": { text: `${head("Content-Length: +0")}${HIDDEN}` },
  "a negative length": { text: `${head("Content-Length: -1")}${HIDDEN}` },
  "a hexadecimal length": { text: `${head("Content-Length: 0x10")}${HIDDEN}` },
  "a length beyond all numbers": { text: `${head("Content-Length: 18446744073709551616")}${HIDDEN}` },
  "a chunk beyond all numbers": { text: `${head("Transfer-Encoding: chunked")}10000000000000000\r\n${HIDDEN}` },
  "a negative chunk": { text: `${head("Transfer-Encoding: chunked")}-1\r\n${HIDDEN}` },
  "a chunk of 0x0": { text: `${head("Transfer-Encoding: chunked")}0x0\r\n\r\n${HIDDEN}` },
  "a chunk that is not ended": { text: `${head("Transfer-Encoding: chunked")}1\r\nZZ\r\n0\r\n\r\n${HIDDEN}` },
  "NUL in a header": { text: `${head("X: a\0b")}${HIDDEN}` },
  "a carriage return in a header": { text: `${head("X: a\rTransfer-Encoding: chunked")}${HIDDEN}` },
  "a blank in a name": { text: `${head("Content Length: 5")}${HIDDEN}` },
  "no name": { text: `${head(": nothing")}${HIDDEN}` },
  "two hosts": { text: `POST /api/v1/outer HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n${HIDDEN}` },
  "a body with GET": { text: `GET /api/v1/outer HTTP/1.1\r\nHost: outer\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`, isHarmless: true },
  "bare line feeds": { text: `POST /api/v1/outer HTTP/1.1\nHost: outer\nContent-Length: ${HIDDEN.length}\n\n${HIDDEN}`, isHarmless: true },
  "line ends in the path, encoded": { text: "GET /api/v1/x%20HTTP/1.1%0d%0aHost:%20x%0d%0a%0d%0aGET%20/api/v1/y HTTP/1.1\r\nHost: outer\r\n\r\n", isHarmless: true },
  "an upgrade to HTTP/2": {
    text: `GET /api/v1/outer HTTP/1.1\r\nHost: outer\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
    isHarmless: true,
  },
  "an upgrade to nothing, with a body": {
    text: `POST /api/v1/outer HTTP/1.1\r\nHost: outer\r\nConnection: Upgrade\r\nUpgrade: nothing\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
    isHarmless: true,
  },
  "hop by hop: the length": {
    text: `${head("Connection: close, content-length", `Content-Length: ${HIDDEN.length}`)}${HIDDEN}`,
    isHarmless: true,
  },
};

/** Heads of requests that are too large, in two ways. */
export const bombs = {
  "a line of a megabyte": () => `GET / HTTP/1.1\r\nHost: x\r\nX: ${"a".repeat(1024 * 1024)}\r\n\r\n`,
  "ten thousand lines": () => `GET / HTTP/1.1\r\nHost: x\r\n${"X: a\r\n".repeat(10_000)}\r\n`,
  "a path of a megabyte": () => `GET /${"a".repeat(1024 * 1024)} HTTP/1.1\r\nHost: x\r\n\r\n`,
};

// HTTP/2 (RFC 9113 section 4.1).
const [DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION] = [0, 1, 3, 4, 6, 9];
const [END_STREAM, END_HEADERS] = [1, 4];

function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const start = Buffer.alloc(9);
  start.writeUIntBE(payload.length, 0, 3);
  start.writeUInt8(type, 3);
  start.writeUInt8(flags, 4);
  start.writeUInt32BE(stream, 5);
  return Buffer.concat([start, payload]);
}

const HELLO = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(SETTINGS, 0, 0)]);
// HPACK (RFC 7541 appendix A): a method, https, a path, an authority.
const fields = (method, path) => Buffer.concat([
  Buffer.from([method === "GET" ? 0x82 : 0x83, 0x87, 0x04, path.length]), Buffer.from(path), Buffer.from([0x41, 1]), Buffer.from("x"),
]);
const times = (count, make) => Buffer.concat(Array.from({ length: count }, (_, number) => make(number)));
// An integer of HPACK with a prefix of seven bits (RFC 7541 section 5.1).
const length = (value) => {
  const bytes = [0x7f];
  for (value -= 0x7f; value >= 0x80; value >>= 7) bytes.push((value & 0x7f) | 0x80);
  return Buffer.from([...bytes, value]);
};

/** Floods of HTTP/2: everything that a client says after its TLS handshake. */
export const floods = {
  // RUSTSEC-2024-0003, CVE-2023-44487
  "rapid reset": () => Buffer.concat([HELLO, times(20_000, (number) => Buffer.concat([
    frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, fields("GET", "/api/v1/x")),
    frame(RST_STREAM, 0, 2 * number + 1, Buffer.from([0, 0, 0, 8])),
  ]))]),
  // RUSTSEC-2024-0332
  "CONTINUATION without end": () => Buffer.concat([HELLO, frame(HEADERS, END_STREAM, 1, fields("GET", "/")),
    times(2_000, () => frame(CONTINUATION, 0, 1, Buffer.alloc(8190, "\0\x01a\x01b"))),
  ]),
  "empty DATA": () => Buffer.concat([HELLO, frame(HEADERS, END_HEADERS, 1, fields("POST", "/upload?number=empty")), times(200_000, () => frame(DATA, 0, 1))]),
  PING: () => Buffer.concat([HELLO, times(200_000, () => frame(PING, 0, 0, Buffer.alloc(8)))]),
  SETTINGS: () => Buffer.concat([HELLO, times(100_000, () => frame(SETTINGS, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0])))]),
  // One long field, remembered once and then named by its number again and again: 15 kB become 60 MB.
  "a bomb of HPACK": () => Buffer.concat([HELLO, ...[1, 3, 5, 7].map((stream) => frame(HEADERS, END_STREAM | END_HEADERS, stream, Buffer.concat([
    fields("GET", "/"), ...(stream === 1 ? [Buffer.from([0x40, 1]), Buffer.from("x"), length(4000), Buffer.alloc(4000, "a")] : []),
    Buffer.alloc(11_000, 0xbe),
  ])))]),
};
