// Where scenarios happen: a world with its browsers, daemons and pages, which stay from one to the next.
// Each scenario gets a scene of its own, with rooms and parties, and cleans up after itself, so that
// several can be played side by side.

import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browsers, launch, quit } from "./browsers.mjs";
import { Cord } from "./cord.mjs";
import { Daemon } from "./daemon.mjs";
import { assert, sleep, Turnstile, until } from "./expect.mjs";
import { NEWEST, servePages } from "./pages.mjs";
import { Party } from "./party.mjs";
import { Rules } from "./rules.mjs";

// Beginning a call costs far more than having one: of scenarios side by side only so many begin at the same time.
const BEGIN_AT_ONCE = 2;

export class Stage {
  #daemons = new Map();
  #browsers = new Browsers();
  #ownBrowsers = new Set();
  #pages = null;
  #rooms = 0;
  #artefacts = null;
  entrance = new Turnstile(BEGIN_AT_ONCE);
  /** What scenes have of their own, until they are over. */
  kept = new Set();
  /** Whatever a log must not tell: tokens, credentials of TURN, passwords of ICE, RPC session ids. */
  secrets = new Set();

  constructor(world) {
    this.world = world;
    this.rules = new Rules(world);
  }

  async open() {
    this.#pages = await servePages();
  }

  scene(settings) {
    return new Scene(this, settings);
  }

  /**
   * The daemon that all scenarios with the same settings share. offer: who offers when somebody subscribes;
   * transport: "tcp" where the network lets neither UDP nor TURN through; grace: seconds for those whose socket broke;
   * environment: further keys, made from the world.
   */
  daemon({ offer = "client", transport = "udp", grace = 3, environment = () => ({}) } = {}) {
    const further = Object.entries(environment(this.world)).map(([key, value]) => `, ${key}=${value}`).join("");
    const key = `${offer} offers, ${transport}, grace ${grace} s${further}`;
    if (!this.#daemons.has(key)) this.#daemons.set(key, this.#start({ offer, transport, grace, environment }));
    return this.#daemons.get(key);
  }

  async #start({ offer, transport, grace, environment }) {
    const keys = { HANOK_RECONNECT_GRACE: grace, ...environment(this.world) };
    const daemon = await Daemon.start(this.world, { offer, environment: keys });
    if (transport === "tcp") await this.rules.onlyIceTcp(daemon.keys);
    return daemon;
  }

  browser(kind) {
    return this.#browsers.get(kind);
  }

  async ownBrowser(kind, options) {
    const launched = await launch(kind, options);
    this.#ownBrowsers.add(launched);
    return launched;
  }

  async quit(launched) {
    this.#ownBrowsers.delete(launched);
    await quit(launched);
  }

  pageAddress(version) {
    return this.#pages.address(version);
  }

  roomName() {
    this.#rooms += 1;
    return `room-${this.world.kind}-${this.#rooms}`;
  }

  async versions() {
    const names = [];
    for (const kind of ["chromium", "firefox"]) names.push((await this.browser(kind)).version);
    return names;
  }

  /** A folder for what a failed scenario leaves behind. */
  async artefacts(scenario) {
    this.#artefacts ??= await mkdtemp(join(tmpdir(), "hanok-interop-"));
    const folder = join(this.#artefacts, scenario.replace(/[^a-z0-9]+/gi, "-").slice(0, 100));
    await mkdir(folder, { recursive: true });
    return folder;
  }

  /** After a failure: a daemon that has ended is not used again. */
  async forget(daemon) {
    if (!daemon.ended) return;
    for (const [key, starting] of this.#daemons) if ((await starting.catch(() => null)) === daemon) this.#daemons.delete(key);
  }

  /** Ends every daemon after a last look at it, which may throw. */
  async dismiss(look) {
    for (const [key, starting] of this.#daemons) {
      const daemon = await starting;
      await look(daemon, key, this.secrets);
      this.#daemons.delete(key);
      await daemon.remove();
    }
  }

  get hasDaemons() {
    return this.#daemons.size > 0;
  }

  async close() {
    await Promise.all([this.#browsers.close(), ...[...this.#ownBrowsers].map((launched) => this.quit(launched))]);
    this.#pages?.close();
    for (const one of this.kept) await one.remove();
    for (const starting of this.#daemons.values()) {
      const daemon = await starting.catch(() => null);
      daemon?.kill();
      await daemon?.remove();
    }
  }
}

/** What one scenario is given. */
class Scene {
  #stage;
  #settings;
  /** What everybody publishes who says nothing else. */
  #habits;
  #parties = [];
  #tabs = [];
  #rooms = [];
  #cords = [];
  #browsers = [];
  #ownDaemons = [];
  #kept = [];

  constructor(stage, settings) {
    this.#stage = stage;
    this.#settings = settings;
    this.#habits = settings.small ? { resolution: "160x120", frameRate: 8 } : {};
    this.world = stage.world;
    this.rules = stage.rules;
  }

  /** Does what takes a whole processor, such as beginning a call, when it is this scene's turn. */
  begin(action) {
    return this.#stage.entrance.pass(action);
  }

  daemon() {
    return this.#stage.daemon(this.#settings);
  }

  /**
   * A daemon for this scene alone. When the scene has passed it has to end well: with 0, and with no complaint but those
   * that are `explained`.
   */
  async ownDaemon({ explained = /^$/, ...options } = {}) {
    const daemon = this.keep(await Daemon.start(this.world, options));
    this.#ownDaemons.push({ daemon, explained });
    return daemon;
  }

  /** Whatever has a `remove`: it is called when the scene is over, the last one first. */
  keep(one) {
    this.#kept.push(one);
    this.#stage.kept.add(one);
    return one;
  }

  /** Creates a session by REST. */
  async room(properties = {}, daemon = undefined) {
    daemon ??= await this.daemon();
    const { status, json } = await daemon.rest("POST", "/openvidu/api/sessions", { customSessionId: this.#stage.roomName(), ...properties });
    assert.equal(status, 200, "a session can be created");
    const room = new Room(daemon, json.id, this.#stage.secrets);
    this.#rooms.push(room);
    return room;
  }

  /** A credential of a daemon's TURN server and the URLs for which it is good. */
  async turnCredential(daemon = undefined) {
    daemon ??= await this.daemon();
    const minted = await daemon.turnCredential();
    this.#stage.secrets.add(minted.credential);
    return minted;
  }

  /**
   * Opens a tab with a published client in it. own: in a browser of its own (from `ownBrowser`).
   */
  async party(name, { browser = "chromium", version = NEWEST, own } = {}) {
    const party = new Party(await this.tab(browser, own), name, browser, version);
    party.protocol = this.#settings.transport ?? "udp";
    party.habits = this.#habits;
    this.#parties.push(party);
    await party.page.goto(this.#stage.pageAddress(version), { waitUntil: "load", timeout: 15_000 });
    return party;
  }

  /**
   * Opens a tab, creates a token and connects with it. cord: by a cord that can be cut (cord.mjs); udpOnly: its media
   * never takes TCP.
   */
  async join(room, name, { browser, version, own, role, data, kurentoOptions, cord, udpOnly } = {}) {
    const [party, token] = await Promise.all([this.party(name, { browser, version, own }), room.token({ role, data, kurentoOptions })]);
    if (udpOnly) await party.setUdpOnly();
    if (cord) {
      party.cord = await Cord.to(room.daemon, this.#stage.rules);
      this.#cords.push(party.cord);
    }
    return party.connect(party.cord ? party.cord.token(token) : token);
  }

  /** The same user once more, in the same tab. */
  async joinAgain(room, party, name, { role } = {}) {
    const another = await party.another(name);
    this.#parties.push(another);
    return another.connect(await room.token({ role }));
  }

  async tab(browser = "chromium", own = undefined) {
    const launched = own ?? await this.#stage.browser(browser);
    // A window of its own: what lies behind another tab is neither drawn nor clicked.
    const page = await launched.browser.newPage({ type: "window" });
    this.#tabs.push(page);
    return page;
  }

  /** A browser for this scene alone; options: of `launch` (browsers.mjs). */
  async ownBrowser(kind, options) {
    const launched = await this.#stage.ownBrowser(kind, options);
    this.#browsers.push(launched);
    return launched;
  }

  async #overhear() {
    for (const party of this.#parties) {
      if (party.page.isClosed()) continue;
      for (const secret of await party.secrets().catch(() => [])) this.#stage.secrets.add(secret);
    }
  }

  /** After a scenario that passed: everybody leaves, and then nothing may be left of its rooms. */
  async leave() {
    await this.#overhear();
    for (const party of this.#parties) {
      if (!party.page.isClosed()) await party.disconnect().catch(() => {});
    }
    await this.#close();
    for (const room of this.#rooms) {
      if (room.daemon.ended) continue;
      await until(`nothing is left of ${room.id}`, async () => {
        const { status, text } = await room.daemon.rest("GET", room.path);
        return status === 404 || assert.fail(text);
      }, { within: 1000 * Number(room.daemon.keys.HANOK_RECONNECT_GRACE) + 3000 });
    }
    for (const { daemon, explained } of this.#ownDaemons) {
      if (!daemon.ended) assert.equal(await daemon.stop(), 0);
      assert.deepEqual(daemon.complaints().filter((line) => !explained.test(line)), []);
    }
    await this.#removeKept();
  }

  async #removeKept() {
    for (const one of this.#kept.splice(0).reverse()) {
      this.#stage.kept.delete(one);
      await one.remove();
    }
  }

  /** After a scenario that failed: pictures, events and logs into a folder, then a clean table. */
  async collect(scenario) {
    const folder = await this.#stage.artefacts(scenario);
    for (const [index, page] of this.#tabs.entries()) {
      if (page.isClosed()) continue;
      const shot = page.screenshot({ path: join(folder, `tab-${index}.png`) }).catch(() => {});
      await Promise.race([shot, sleep(3000, null, { ref: false })]);
    }
    const told = [];
    for (const party of this.#parties) {
      const asked = party.page.isClosed() ? [] : party.events().catch((error) => [{ unknown: String(error) }]);
      const events = await Promise.race([asked, sleep(3000, [{ unknown: "the page does not answer" }], { ref: false })]);
      const lines = events.map((event) => JSON.stringify(event));
      await writeFile(join(folder, `${party.name}.txt`), `${[...party.console, "events:", ...lines].join("\n")}\n`);
      told.push(`${party}, last events:`, ...lines.slice(-8).map((line) => `  ${line}`));
    }
    await Promise.race([this.#close(), sleep(10_000, null, { ref: false })]);
    for (const daemon of new Set([...this.#rooms, ...this.#ownDaemons].map(({ daemon }) => daemon))) {
      await writeFile(join(folder, `daemon-${daemon.process.pid}.log`), daemon.log());
      told.push("daemon, last lines:", ...daemon.log().trimEnd().split("\n").slice(-8).map((line) => `  ${line}`));
      await this.#stage.forget(daemon);
    }
    for (const room of this.#rooms) await room.daemon.rest("DELETE", room.path).catch(() => {});
    await this.#removeKept();
    return { folder, told };
  }

  async #close() {
    const tabs = this.#tabs.splice(0);
    this.#parties.length = 0;
    await Promise.all(tabs.map((page) => (page.isClosed() ? null : page.close().catch(() => {}))));
    for (const cord of this.#cords.splice(0)) cord.close();
    await Promise.all(this.#browsers.splice(0).map((launched) => this.#stage.quit(launched)));
  }
}

/** A session of the daemon. */
class Room {
  #secrets;

  constructor(daemon, id, secrets) {
    this.daemon = daemon;
    this.id = id;
    this.path = `/openvidu/api/sessions/${id}`;
    this.#secrets = secrets;
  }

  async token({ role, data, kurentoOptions } = {}) {
    const { status, json } = await this.daemon.rest("POST", `${this.path}/connection`, { role, data, kurentoOptions });
    assert.equal(status, 200, "a connection can be created");
    this.#secrets.add(new URL(json.token).searchParams.get("token"));
    return json.token;
  }

  async connections() {
    const { status, json } = await this.daemon.rest("GET", `${this.path}/connection`);
    assert.equal(status, 200);
    return json.content;
  }

  /** One connection, as REST tells it. */
  async shown({ connectionId }) {
    return (await this.connections()).find((connection) => connection.connectionId === connectionId);
  }

  /** The ids of those who are in the room, as REST tells them. */
  async present() {
    return (await this.connections()).filter(({ status }) => status === "active").map(({ connectionId }) => connectionId).sort();
  }

  async close() {
    return (await this.daemon.rest("DELETE", this.path)).status;
  }
}
