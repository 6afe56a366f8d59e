// A small internet of our own, for what networks do to calls: four network namespaces, and a router in the
// middle that translates, filters and forgets as told. All traffic of the clients crosses a line that
// delays, loses and cuts (tests/shuttle).
//
//   clients ==(shuttle)== router -- server (two addresses; and a public one that the router translates 1:1)
//                              \-- relay  (coturn, when asked for)
//
// Whatever a scenario changes, `restore` undoes.

import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until, within } from "./expect.mjs";

const run = promisify(execFile);

const SHUTTLE = resolve(process.env.SHUTTLE_BIN ?? fileURLToPath(new URL("../../target/debug/shuttle", import.meta.url)));
const SEED = process.env.SHUTTLE_SEED ?? "1";

// Both families are laid out alike, so that a town of one family is a town without the other.
const FAMILIES = {
  4: { net: (street, house) => `10.213.${street}.${house}`, bits: 24, any: "0.0.0.0/0" },
  6: { net: (street, house) => `fd00:213:${street}::${house}`, bits: 64, any: "::/0" },
};
const CLIENTS = 1;
const SERVERS = 2;
const RELAYS = 3;
const PUBLIC_ADDRESS = "203.0.113.10";

// How the server is called: the published client cannot read a URL with a literal IPv6 address.
const SERVER_NAME = "server.town";

/** Makes and removes the namespaces. The cables are laid by whoever plays in the town. */
export class Town {
  static ROLES = ["clients", "router", "server", "relay"];

  constructor(name) {
    this.name = name;
    // The one that this town has.
    this.family = name === "six" ? 6 : 4;
    this.namespaces = Object.fromEntries(Town.ROLES.map((role) => [role, `hanok-${role}-${process.pid}-${name}`]));
  }

  /** Namespaces of this run that are still there. */
  static left() {
    const folder = "/run/netns";
    const ours = new RegExp(`^hanok-(${Town.ROLES.join("|")})-${process.pid}-`);
    return existsSync(folder) ? readdirSync(folder).filter((name) => ours.test(name)) : [];
  }

  get clients() {
    return this.namespaces.clients;
  }

  create() {
    const hosts = `127.0.0.1 localhost\n::1 localhost\n${FAMILIES[this.family].net(SERVERS, 2)} ${SERVER_NAME}\n`;
    for (const namespace of Object.values(this.namespaces)) {
      execFileSync("ip", ["netns", "add", namespace], { stdio: ["ignore", "ignore", "pipe"] });
      // `ip netns exec` shows these in the place of the system's. Whoever looks for a name that nobody has is told so at once:
      // where a scenario drops all UDP, browsers would wait a quarter of a minute for an answer before they begin.
      mkdirSync(`/etc/netns/${namespace}`, { recursive: true });
      writeFileSync(`/etc/netns/${namespace}/hosts`, hosts);
      writeFileSync(`/etc/netns/${namespace}/resolv.conf`, "nameserver 127.0.0.1\n");
    }
  }

  remove() {
    for (const namespace of Object.values(this.namespaces)) {
      rmSync(`/etc/netns/${namespace}`, { recursive: true, force: true });
      try {
        execFileSync("ip", ["netns", "delete", namespace], { stdio: "ignore" });
      } catch {
        // It was never made.
      }
    }
  }
}

/** The town seen from inside the clients' namespace. */
export class TownWorld {
  hasInterface = true;
  #family;
  #net;
  #shuttle;
  #answers;
  #client = 2;
  #zone = 1;
  #nat = "none";
  #cuts = [];
  #relay = null;

  /** @param town what JSON has kept of a Town */
  constructor({ name, family, namespaces }) {
    this.kind = name;
    this.names = namespaces;
    this.#family = FAMILIES[family];
    this.#net = this.#family.net;
    this.address = this.#net(SERVERS, 2);
    this.serverName = SERVER_NAME;
    this.prefix = ["ip", "netns", "exec", namespaces.server];
  }

  /** The server's second address: REST uses it, so that a scenario can cut the first one alone. */
  get secondAddress() {
    return this.#net(SERVERS, 3);
  }

  /** Stands for the server's first address on the outside; IPv4 only. */
  get publicAddress() {
    return PUBLIC_ADDRESS;
  }

  async open() {
    const { clients, router, server, relay } = this.names;
    const { bits, any } = this.#family;
    const ip = (namespace, ...args) => run("ip", ["-n", namespace, ...args]);
    const address = (namespace, device, street, house) =>
      ip(namespace, "address", "add", `${this.#net(street, house)}/${bits}`, "dev", device, ...(bits === 64 ? ["nodad"] : []));
    await Promise.all(Town.ROLES.map((role) => ip(this.names[role], "link", "set", "lo", "up")));
    await this.#startShuttle(`${clients}:wire0`, `${router}:wire0`);
    await address(router, "wire0", CLIENTS, 1);
    await address(clients, "wire0", CLIENTS, this.#client);
    for (const [namespace, device, street] of [[server, "server0", SERVERS], [relay, "relay0", RELAYS]]) {
      await ip(router, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace);
      await address(router, device, street, 1);
      await address(namespace, "eth0", street, 2);
      if (street === SERVERS) await address(namespace, "eth0", street, 3);
      await ip(router, "link", "set", device, "up");
      await ip(namespace, "link", "set", "eth0", "up");
      await ip(namespace, "route", "add", any, "via", this.#net(street, 1));
    }
    await ip(router, "link", "set", "wire0", "up");
    await ip(clients, "link", "set", "wire0", "up");
    await ip(clients, "route", "add", any, "via", this.#net(CLIENTS, 1));
    // Firefox takes itself for offline where there is no IPv4 at all; this one leads nowhere.
    if (bits === 64) {
      await ip(clients, "address", "add", "192.0.2.2/24", "dev", "wire0");
      await ip(clients, "route", "add", "default", "dev", "wire0");
    }
    const forwarding = bits === 64 ? "net.ipv6.conf.all.forwarding=1" : "net.ipv4.ip_forward=1";
    await run("ip", ["netns", "exec", router, "sysctl", "-qw", forwarding]);
    await this.#apply();
  }

  async #startShuttle(...ends) {
    this.#shuttle = spawn(SHUTTLE, ["--seed", SEED, ...ends], { stdio: ["pipe", "pipe", "inherit"] });
    this.#answers = createInterface({ input: this.#shuttle.stdout })[Symbol.asyncIterator]();
    await Promise.race([
      once(this.#shuttle, "spawn"),
      once(this.#shuttle, "error").then(([error]) => { throw new Error(`${SHUTTLE}: ${error.message}`); }),
    ]);
    await this.#answer("the shuttle's start");
  }

  async #answer(what) {
    const { value, done } = await within(5_000, what, this.#answers.next());
    if (done || value.startsWith("error")) throw new Error(`${what}: ${value ?? "the shuttle has ended"}`);
    return value;
  }

  /** Tells the line how to be, for example "delay 20 loss 5%" or "blackout 20s" (tests/shuttle/src/main.rs). */
  async line(command) {
    this.#shuttle.stdin.write(`${command}\n`);
    return this.#answer(command);
  }

  async lineStats() {
    return JSON.parse(await this.line("stats"));
  }

  /**
   * How the router translates the clients' addresses: "none"; "port-restricted": one outer port for all
   * peers, as most do at home; "symmetric": another port for each peer.
   */
  nat(kind) {
    this.#nat = kind;
    return this.#apply();
  }

  /** The router forgets where UDP of the clients went; what they send next leaves from another port. */
  rebind() {
    this.#zone += 1;
    return this.#apply();
  }

  /**
   * The router drops what `rules` (nft) match, without a word, unless a rule says `reject`. Returns what ends it.
   */
  async cut(...rules) {
    this.#cuts.push(...rules);
    await this.#apply();
    return () => {
      this.#cuts = this.#cuts.filter((rule) => !rules.includes(rule));
      return this.#apply();
    };
  }

  /** Moves the clients to another address; what they had open there is not told. */
  async moveClients() {
    const { clients } = this.names;
    const old = this.#client;
    this.#client += 1;
    const { bits, any } = this.#family;
    const at = (house) => `${this.#net(CLIENTS, house)}/${bits}`;
    await run("ip", ["-n", clients, "address", "delete", at(old), "dev", "wire0"]);
    await run("ip", ["-n", clients, "address", "add", at(this.#client), "dev", "wire0"]);
    // The kernel has taken the routes along with the old one.
    await run("ip", ["-n", clients, "route", "replace", any, "via", this.#net(CLIENTS, 1)]);
  }

  /**
   * The server's machine trusts this authority (authority.mjs) and no other. What starts there later sees it, until
   * `restore`.
   */
  async trust({ certificate }) {
    // `ip netns exec` shows this folder in the place of the system's.
    const folder = this.#trustFolder;
    mkdirSync(join(folder, "certs"), { recursive: true });
    copyFileSync(certificate, join(folder, "certs", "ca-certificates.crt"));
  }

  get #trustFolder() {
    return `/etc/netns/${this.names.server}/ssl`;
  }

  /** Starts Debian's coturn; returns what a browser must know of it. */
  async relay() {
    const listen = this.#net(RELAYS, 2);
    this.#relay = spawn("ip", ["netns", "exec", this.names.relay, "turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls",
      "--lt-cred-mech", "--user", "relay:relayed", "--realm", "town", "--listening-ip", listen, "--relay-ip", listen,
      "--pidfile", "", "--log-file", "stdout"], { stdio: "ignore" });
    process.once("exit", () => this.#relay?.kill());
    await until("coturn listens", async () => {
      const { stdout } = await run("ip", ["netns", "exec", this.names.relay, "ss", "-Hlun", "sport = :3478"]);
      return stdout !== "";
    });
    return { urls: `turn:${listen}:3478`, username: "relay", credential: "relayed", address: listen };
  }

  /** The whole of the router's rules, at once. */
  async #apply() {
    const ports = { "port-restricted": "", symmetric: " random,fully-random" }[this.#nat];
    const table = this.#table;
    const rules = `
      table ${table} town {}
      delete table ${table} town
      table ${table} town {
        chain memory {
          type filter hook prerouting priority raw
          meta l4proto udp ct zone set ${this.#zone}
        }
        chain inward {
          type nat hook prerouting priority dstnat
          ${table === "ip" ? `ip daddr ${PUBLIC_ADDRESS} dnat to ${this.address}` : ""}
        }
        chain outward {
          type nat hook postrouting priority srcnat
          ${ports === undefined ? "" : `iifname "wire0" masquerade${ports}`}
        }
        chain filter {
          type filter hook forward priority filter
          ${this.#cuts.map((rule) => (rule.includes(" reject ") ? rule : `${rule} drop`)).join("\n          ")}
        }
        counter unclaimed {}
        chain own {
          type filter hook input priority filter
          meta l4proto udp counter name unclaimed
        }
      }`;
    const loading = run("ip", ["netns", "exec", this.names.router, "nft", "-f", "-"]);
    loading.child.stdin.end(rules);
    await loading;
  }

  /** How many datagrams have come to the router that belong to nobody, since its rules last changed. */
  async unclaimed() {
    const { stdout } = await run("ip", ["netns", "exec", this.names.router, "nft", "list", "table", this.#table, "town"]);
    return Number(/packets (\d+)/.exec(stdout)[1]);
  }

  get #table() {
    return this.#family.bits === 24 ? "ip" : "ip6";
  }

  async restore() {
    this.#relay?.kill();
    this.#relay = null;
    this.#nat = "none";
    this.#cuts = [];
    rmSync(this.#trustFolder, { recursive: true, force: true });
    await this.#apply();
    await this.line("clear");
  }

  /** Without its input the shuttle ends. */
  close() {
    this.#relay?.kill();
    this.#shuttle?.stdin.end();
  }
}
