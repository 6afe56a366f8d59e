// What the network refuses: packet rules in the daemon's namespace, in a table of their own.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

const TABLE = `
table ip interop_rules {
  set no_udp { type inet_service; flags interval; }
  set no_turn { type inet_service; }
  set silent { type inet_service; }
  chain input {
    type filter hook input priority 0;
    udp dport @no_udp counter drop
    tcp dport @no_turn counter reject with tcp reset
    tcp sport @silent counter drop
    udp sport @silent counter drop
  }
  chain output {
    type filter hook output priority 0;
    tcp dport @silent counter drop
    udp dport @silent counter drop
  }
}`;

/** Rules of one world; they can be asked for side by side. Only a world with namespaces has any. */
export class Rules {
  #prefix;
  #ready = null;
  #scenesByPort = new Map();

  constructor({ kind, prefix }) {
    this.#prefix = kind === "veth" ? prefix : null;
  }

  get possible() {
    return this.#prefix !== null;
  }

  async #nft(...args) {
    if (!this.possible) throw new Error("there are no packet rules outside the namespaces");
    const call = (...words) => run(this.#prefix[0], [...this.#prefix.slice(1), "nft", ...words]);
    this.#ready ??= call(TABLE);
    await this.#ready;
    await call(...args);
  }

  /** Media reaches the daemon with these `keys` by ICE-TCP alone, for as long as the world stands: no UDP, no TURN. */
  async onlyIceTcp({ HANOK_MEDIA_MIN_PORT: first, HANOK_MEDIA_MAX_PORT: last, COTURN_PORT: turn }) {
    await this.#nft("add", "element", "ip", "interop_rules", "no_udp", `{ ${first}-${last}, ${turn} }`);
    await this.#nft("add", "element", "ip", "interop_rules", "no_turn", `{ ${turn} }`);
  }

  /** Nothing goes to or comes from these ports of clients until the returned function is called. */
  async silence(ports) {
    const own = [...new Set(ports)];
    await this.#silent("add", own.filter((port) => this.#silenced(port, 1) === 1));
    return () => this.#silent("delete", own.filter((port) => this.#silenced(port, -1) === 0));
  }

  // Two browsers may have a port of the same number.
  #silenced(port, change) {
    const scenes = (this.#scenesByPort.get(port) ?? 0) + change;
    this.#scenesByPort.set(port, scenes);
    return scenes;
  }

  async #silent(what, ports) {
    if (ports.length > 0) await this.#nft(what, "element", "ip", "interop_rules", "silent", `{ ${ports.join(", ")} }`);
  }
}
