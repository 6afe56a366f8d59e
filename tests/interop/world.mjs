// Where the daemon and the browsers live: both on this host, or on two hosts of our own (network
// namespaces joined by a veth pair), where browsers meet the daemon over a real interface.

import { execFile, execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { promisify } from "node:util";

const run = promisify(execFile);

const SERVER_ADDRESS = "10.213.0.1";
// The second one is where clients are after a move.
const CLIENT_ADDRESSES = ["10.213.0.2", "10.213.0.3"];
const STRANGER_ADDRESS = "10.213.0.6";

/** Two namespaces and the cable between them. Only root may make them. */
export class Namespaces {
  /** number: tells those of one run apart */
  constructor(number = 0) {
    this.server = `hanok-s${process.pid}-${number}`;
    this.clients = `hanok-c${process.pid}-${number}`;
  }

  static possible() {
    return process.getuid() === 0;
  }

  /** Those of this run that are still there. */
  static left() {
    const folder = "/run/netns";
    return existsSync(folder) ? readdirSync(folder).filter((name) => /^hanok-[sc](\d+)-/.exec(name)?.[1] === `${process.pid}`) : [];
  }

  create() {
    const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
    ip("netns", "add", this.server);
    ip("netns", "add", this.clients);
    ip("-n", this.server, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", this.clients);
    ip("-n", this.server, "address", "add", `${SERVER_ADDRESS}/29`, "dev", "veth0");
    ip("-n", this.clients, "address", "add", `${CLIENT_ADDRESSES[0]}/29`, "dev", "veth0");
    for (const namespace of [this.server, this.clients]) {
      ip("-n", namespace, "link", "set", "lo", "up");
      ip("-n", namespace, "link", "set", "veth0", "up");
    }
    // Without a default route a browser that shares no camera gathers no candidate at all.
    ip("-n", this.clients, "route", "add", "default", "via", SERVER_ADDRESS);
  }

  remove() {
    for (const namespace of [this.server, this.clients]) {
      try {
        execFileSync("ip", ["netns", "delete", namespace], { stdio: "ignore" });
      } catch {
        // It was never made.
      }
    }
  }
}

/** Everything on this host. */
export function hostWorld() {
  return {
    kind: "host",
    address: "127.0.0.1",
    prefix: [],
    // Firefox sends no checks to a loopback address, so it needs another one.
    hasInterface: Object.values(networkInterfaces()).flat().some(({ internal, family }) => !internal && family === "IPv4"),
  };
}

/** Seen from inside the browsers' namespace: the daemon is on the other side of the cable. */
export function vethWorld(serverNamespace) {
  const prefix = ["ip", "netns", "exec", serverNamespace];
  return {
    kind: "veth",
    address: SERVER_ADDRESS,
    prefix,
    hasInterface: true,
    /** Gives the clients' host another address in place of the one that it has. */
    async move() {
      const [from, to] = CLIENT_ADDRESSES;
      CLIENT_ADDRESSES.reverse();
      await run("ip", ["address", "delete", `${from}/29`, "dev", "veth0"]);
      await run("ip", ["address", "add", `${to}/29`, "dev", "veth0"]);
      await run("ip", ["route", "replace", "default", "via", SERVER_ADDRESS]);
    },
    /** Somebody else at the clients' end of the cable, for as long as `action` takes, which is given the address. */
    async withStranger(action) {
      const stranger = [`${STRANGER_ADDRESS}/29`, "dev", "veth0"];
      await run("ip", ["address", "add", ...stranger]);
      try {
        return await action(STRANGER_ADDRESS);
      } finally {
        await run("ip", ["address", "delete", ...stranger]);
      }
    },
    /** Drops what `rule` matches on the daemon's side; tells how many it were when it ends. */
    async dropping(rule, action) {
      const nft = (...args) => run(prefix[0], [...prefix.slice(1), "nft", ...args]);
      await nft("add table ip interop { chain input { type filter hook input priority 0; }; }");
      try {
        await nft(`add rule ip interop input ${rule} counter drop`);
        await action();
        const { stdout } = await nft("list", "table", "ip", "interop");
        return Number(/counter packets (\d+)/.exec(stdout)[1]);
      } finally {
        await nft("delete", "table", "ip", "interop");
      }
    },
  };
}
