// The cord between one client and the daemon: its WebSocket goes through here, byte by byte, so that it
// can be cut without anybody else's noticing. TLS passes through; media takes its own way.

import { connect, createServer } from "node:net";

export class Cord {
  #server;
  #pairs = new Set();
  #rules;
  #state = "whole";
  #unsilence = null;

  static async to(daemon, rules) {
    const cord = new Cord(rules);
    const { hostname, port } = new URL(daemon.url);
    cord.#server = createServer({ pauseOnConnect: true }, (near) => cord.#accept(near, { host: hostname, port: Number(port) }));
    await new Promise((resolve, reject) => cord.#server.once("error", reject).listen(0, "127.0.0.1", resolve));
    return cord;
  }

  constructor(rules) {
    this.#rules = rules;
  }

  /** The token that leads through this cord. */
  token(token) {
    return token.replace(/^wss:\/\/[^?/]+/, `wss://127.0.0.1:${this.#server.address().port}`);
  }

  #accept(near, target) {
    near.on("error", () => {});
    if (this.#state === "cut") {
      near.resetAndDestroy();
      return;
    }
    const pair = { near, far: null, begin: () => this.#join(pair, target) };
    this.#pairs.add(pair);
    // What one side said last still reaches the other one.
    near.once("close", () => {
      pair.far?.end();
      this.#pairs.delete(pair);
    });
    if (this.#state === "whole") pair.begin();
  }

  #join(pair, target) {
    const { near } = pair;
    const far = connect(target);
    pair.far = far;
    far.on("error", () => near.resetAndDestroy());
    far.once("close", () => near.end());
    near.pipe(far).pipe(near);
  }

  /** Both ends see a reset, and whoever calls again is refused, until `mend`. */
  cut() {
    this.#state = "cut";
    for (const { near, far } of this.#pairs) {
      far?.resetAndDestroy();
      near.resetAndDestroy();
    }
  }

  /** Nothing comes through any more, and nobody is told, until `mend`. */
  async silence() {
    this.#state = "silent";
    const open = [...this.#pairs].filter(({ far }) => far);
    for (const { near, far } of open) {
      near.unpipe(far).pause();
      far.unpipe(near).pause();
    }
    // A connection that is not up yet, or no longer, has no port.
    const ports = open.map(({ far }) => far.localPort).filter(Boolean);
    if (this.#rules.possible) this.#unsilence = await this.#rules.silence(ports);
  }

  async mend() {
    const before = this.#state;
    this.#state = "whole";
    if (before !== "silent") return;
    await this.#unsilence?.();
    this.#unsilence = null;
    for (const pair of this.#pairs) {
      if (pair.far) pair.near.pipe(pair.far).pipe(pair.near);
      else pair.begin();
    }
  }

  close() {
    this.#server.close();
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far?.destroy();
    }
  }
}
