// The daemon under test: started with an environment file or as `--dev`, asked over REST, ended by its pid.

import { execFile, spawn } from "node:child_process";
import { openSync, closeSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { request } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { assert, until, within } from "./expect.mjs";

const BINARY = resolve(process.env.HANOK_BIN ?? fileURLToPath(new URL("../../target/debug/hanok", import.meta.url)));
// Keys that we set for later versions, and a name that a scenario knows to be none.
const EXPLAINED = / has no effect yet| name=hanok\.invalid( error=.*)?$/;
const STOP_WITHIN = 8_000;

const run = promisify(execFile);

// Daemons of one run have different media ports; those of another run begin elsewhere.
let mediaSlot = Math.floor(Math.random() * 50);

export const SECRET = "interop-Secret_1";

export class Daemon {
  /**
   * @param world where it runs (world.mjs)
   * @param options dev: as a newcomer starts it; offer: who offers on subscribe; environment: further keys
   */
  static async start(world, { dev = false, offer = "client", environment = {} } = {}) {
    const folder = await mkdtemp(join(tmpdir(), "hanok-daemon-"));
    const ports = await freePorts(4);
    const host = hostOf(world.address);
    // Below the ports that the system gives to anybody who asks for one.
    mediaSlot = (mediaSlot + 1) % 50;
    const media = 20_000 + 200 * mediaSlot;
    const keys = {
      DOMAIN_OR_PUBLIC_IP: world.address,
      HTTPS_PORT: ports[0],
      COTURN_PORT: ports[2],
      HANOK_PLAIN_LISTEN: `${host}:${ports[3]}`,
      HANOK_MEDIA_MIN_PORT: media,
      HANOK_MEDIA_MAX_PORT: media + 199,
      HANOK_SUBSCRIBE_OFFER: offer,
      HANOK_RECONNECT_GRACE: 3,
      HANOK_ADMIN_LISTEN: "",
      // Its lines are read by people when a scenario fails, and by patterns before.
      HANOK_LOG_FORMAT: "text",
      // Nobody outside is asked anything.
      HANOK_PUBLIC_ADDRESS_SERVERS: "",
      HANOK_CONTROL_SOCKET: join(folder, "control.sock"),
      ...(dev && world.address !== "127.0.0.1" ? { HANOK_BIND: world.address } : {}),
      ...(dev ? {} : { HTTP_PORT: ports[1], CERTIFICATE_TYPE: "selfsigned", OPENVIDU_SECRET: SECRET, HANOK_STATE_DIR: join(folder, "state") }),
      ...environment,
    };
    const args = ["serve"];
    if (dev) {
      args.push("--dev");
    } else {
      const file = join(folder, ".env");
      writeFileSync(file, Object.entries(keys).map(([key, value]) => `${key}=${value}\n`).join(""), { mode: 0o600 });
      args.push("--env-file", file);
    }
    const daemon = new Daemon(world, folder, keys, dev ? "MY_SECRET" : SECRET);
    daemon.#spawn(args, dev ? keys : {});
    try {
      await daemon.#ready();
    } catch (error) {
      daemon.kill();
      await daemon.remove();
      throw error;
    }
    return daemon;
  }

  constructor(world, folder, keys, secret) {
    this.world = world;
    this.folder = folder;
    this.keys = keys;
    this.secret = secret;
    // A world may keep a way of its own for those who only look.
    this.url = `https://${hostOf(world.secondAddress ?? world.address)}:${keys.HTTPS_PORT}`;
    this.plainUrl = `http://${keys.HANOK_PLAIN_LISTEN}`;
  }

  #spawn(args, environment) {
    const log = openSync(join(this.folder, "log"), "a");
    const [command, ...rest] = [...this.world.prefix, BINARY, ...args];
    // Nothing of the caller's environment may configure the daemon.
    const { PATH, HOME = "/", RUST_BACKTRACE = "1", INTEROP_RUN } = process.env;
    this.process = spawn(command, rest, {
      cwd: this.folder,
      stdio: ["ignore", log, log],
      env: { PATH, HOME, RUST_BACKTRACE, INTEROP_RUN, ...environment },
    });
    closeSync(log);
    this.exited = new Promise((resolve) => {
      this.process.once("error", (error) => resolve({ code: null, signal: null, error }));
      this.process.once("exit", (code, signal) => resolve({ code, signal }));
    });
  }

  get ended() {
    return this.process.exitCode !== null || this.process.signalCode !== null;
  }

  async #ready() {
    let ended = null;
    let ready = false;
    this.exited.then(({ code, signal, error }) => {
      if (!ready) ended = `the daemon ended while starting: ${error?.message ?? `code ${code}, signal ${signal}`}\n${this.log()}`;
    });
    await until(`the daemon answers on ${this.url}`, async () => {
      const { status } = await this.rest("GET", "/openvidu/api/config/openvidu-publicurl");
      return status === 200;
    }, { within: 15_000, unless: () => ended });
    ready = true;
    this.start = { rss: await this.rss(), descriptors: await this.descriptors() };
  }

  /** One REST request over HTTPS. */
  rest(method, path, body, { secret = this.secret } = {}) {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return within(10_000, `${method} ${path}`, new Promise((resolve, reject) => {
      const outgoing = request(this.url + path, {
        method,
        rejectUnauthorized: false,
        agent: false,
        headers: {
          authorization: `Basic ${Buffer.from(`OPENVIDUAPP:${secret}`).toString("base64")}`,
          ...(payload === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
        },
      }, (incoming) => {
        const chunks = [];
        incoming.on("data", (chunk) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          let json = null;
          try {
            json = JSON.parse(text);
          } catch {
            // Many answers have no body.
          }
          resolve({ status: incoming.statusCode, headers: incoming.headers, text, json });
        });
      });
      outgoing.on("error", reject);
      outgoing.end(payload);
    }));
  }

  /** What `hanok turn-cred new` prints under this daemon's configuration, which is not that of `--dev`. */
  async turnCredential() {
    const [command, ...rest] = [...this.world.prefix, BINARY, "turn-cred", "new", "--json", "--env-file", join(this.folder, ".env")];
    return JSON.parse((await run(command, rest)).stdout);
  }

  async sessions() {
    const { status, json } = await this.rest("GET", "/openvidu/api/sessions");
    assert.equal(status, 200);
    assert.equal(json.numberOfElements, json.content.length);
    return json.content;
  }

  log() {
    return this.wholeLog().split("\n").slice(-80).join("\n");
  }

  /** What must not be in the log of a good run: all warnings that have no explanation. */
  complaints() {
    return this.wholeLog().split("\n").filter((line) => /panicked| WARN | ERROR /.test(line) && !EXPLAINED.test(line));
  }

  wholeLog() {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  /** Resident memory in MiB. */
  async rss() {
    const status = await readFile(`/proc/${this.process.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) / 1024;
  }

  async descriptors() {
    return (await readdir(`/proc/${this.process.pid}/fd`)).length;
  }

  /** Asks it to end as systemd would and returns its exit code. */
  async stop() {
    if (!this.ended) this.process.kill("SIGTERM");
    try {
      return (await within(STOP_WITHIN, "the daemon's end", this.exited)).code;
    } finally {
      this.kill();
    }
  }

  kill() {
    if (!this.ended) this.process.kill("SIGKILL");
  }

  /** Ends it, if it has not ended, and removes what it has written. */
  remove() {
    this.kill();
    return rm(this.folder, { recursive: true, force: true });
  }
}

/** An address as it stands in a URL. */
export function hostOf(address) {
  return address.includes(":") ? `[${address}]` : address;
}

// Of this whole run: a daemon in another namespace does not show here that it has one.
const taken = new Set();

// Held together until all are known, so that no two are the same.
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count + taken.size }, () => new Promise((resolve, reject) => {
    const server = createServer().once("error", reject).listen(0, () => resolve(server));
  })));
  const ports = servers.map((server) => server.address().port).filter((port) => !taken.has(port)).slice(0, count);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  for (const port of ports) taken.add(port);
  return ports;
}
