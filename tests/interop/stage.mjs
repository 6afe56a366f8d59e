// What a scenario is given: a daemon, rooms and parties. It cleans up after each scenario and keeps
// daemons and browsers for the next one.

import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Browsers } from "./browsers.mjs";
import { Daemon } from "./daemon.mjs";
import { assert, sleep, until } from "./expect.mjs";
import { servePages } from "./pages.mjs";
import { Party } from "./party.mjs";

export class Stage {
  #daemons = new Map();
  #browsers = new Browsers();
  #pages = null;
  #parties = [];
  #tabs = [];
  #rooms = 0;
  #artefacts = null;
  #offer = "client";

  constructor(world) {
    this.world = world;
  }

  async open() {
    this.#pages = await servePages();
  }

  begin({ offer = "client" }) {
    this.#offer = offer;
  }

  /** The daemon of this scenario: one per direction of the subscribe offer, shared by all scenarios. */
  async daemon(offer = this.#offer) {
    if (!this.#daemons.has(offer)) this.#daemons.set(offer, Daemon.start(this.world, { offer }));
    return this.#daemons.get(offer);
  }

  /** Creates a session by REST. */
  async room(properties = {}, daemon = undefined) {
    daemon ??= await this.daemon();
    this.#rooms += 1;
    const customSessionId = `room-${this.world.kind}-${this.#rooms}`;
    const { status, json } = await daemon.rest("POST", "/openvidu/api/sessions", { customSessionId, ...properties });
    assert.equal(status, 200, "a session can be created");
    return new Room(daemon, json.id);
  }

  /** Opens a tab with a published client in it. */
  async party(name, { browser = "chromium", version = "2.32.2" } = {}) {
    const party = new Party(await this.tab(browser), name, browser, version);
    this.#parties.push(party);
    await party.page.goto(this.#pages.address(version), { waitUntil: "load", timeout: 15_000 });
    return party;
  }

  /** Opens a tab, creates a token and connects with it. */
  async join(room, name, { browser, version, role, kurentoOptions } = {}) {
    const [party, token] = await Promise.all([this.party(name, { browser, version }), room.token({ role, kurentoOptions })]);
    return party.connect(token);
  }

  async tab(browser = "chromium") {
    const launched = await this.#browsers.get(browser);
    // A window of its own: what lies behind another tab is neither drawn nor clicked.
    const page = await launched.browser.newPage(browser === "chromium" ? { type: "window" } : undefined);
    this.#tabs.push(page);
    return page;
  }

  async versions() {
    const names = [];
    for (const kind of ["chromium", "firefox"]) names.push((await this.#browsers.get(kind)).version);
    return names;
  }

  /** After a scenario that passed: everybody leaves, and then nothing may be left in any daemon. */
  async leave() {
    for (const party of this.#parties) {
      if (!party.page.isClosed()) await party.disconnect().catch(() => {});
    }
    await this.#closeTabs();
    for (const starting of this.#daemons.values()) {
      const daemon = await starting;
      await until("GET /sessions is empty", async () => {
        const left = await daemon.sessions();
        return left.length === 0 || assert.fail(JSON.stringify(left));
      }, { within: 6_000 });
    }
  }

  /** After a scenario that failed: pictures and logs into a folder, then a clean table for the next one. */
  async collect(scenario) {
    this.#artefacts ??= await mkdtemp(join(tmpdir(), "hanok-interop-"));
    const folder = join(this.#artefacts, scenario.replace(/[^a-z0-9]+/gi, "-").slice(0, 80));
    await mkdir(folder, { recursive: true });
    for (const [index, page] of this.#tabs.entries()) {
      if (page.isClosed()) continue;
      const shot = page.screenshot({ path: join(folder, `tab-${index}.png`) }).catch(() => {});
      await Promise.race([shot, sleep(5000, null, { ref: false })]);
    }
    for (const party of this.#parties) {
      const events = party.page.isClosed() ? [] : await party.events().catch((error) => [String(error)]);
      const lines = [...party.console, "events:", ...events.map((event) => JSON.stringify(event))];
      await writeFile(join(folder, `${party.name}.txt`), `${lines.join("\n")}\n`);
    }
    await this.#closeTabs();
    for (const [offer, starting] of this.#daemons) {
      const daemon = await starting.catch(() => null);
      if (!daemon) {
        this.#daemons.delete(offer);
        continue;
      }
      await writeFile(join(folder, `daemon-${offer}.log`), daemon.log());
      const left = await daemon.sessions().catch(() => []);
      for (const { id } of left) await daemon.rest("DELETE", `/openvidu/api/sessions/${id}`).catch(() => {});
      if (daemon.process.exitCode !== null || daemon.process.signalCode !== null) this.#daemons.delete(offer);
    }
    return folder;
  }

  async #closeTabs() {
    const tabs = this.#tabs.splice(0);
    this.#parties.length = 0;
    await Promise.all(tabs.map((page) => (page.isClosed() ? null : page.close().catch(() => {}))));
  }

  /** Ends every daemon after a last look at it, which may throw. */
  async dismiss(look) {
    for (const [offer, starting] of this.#daemons) {
      const daemon = await starting;
      await look(daemon);
      this.#daemons.delete(offer);
      await daemon.remove();
    }
  }

  get hasDaemons() {
    return this.#daemons.size > 0;
  }

  async close() {
    await this.#browsers.close();
    this.#pages?.close();
    for (const starting of this.#daemons.values()) {
      const daemon = await starting.catch(() => null);
      daemon?.kill();
      await daemon?.remove();
    }
  }
}

/** A session of the daemon. */
class Room {
  constructor(daemon, id) {
    this.daemon = daemon;
    this.id = id;
    this.path = `/openvidu/api/sessions/${id}`;
  }

  async token({ role, data, kurentoOptions } = {}) {
    const { status, json } = await this.daemon.rest("POST", `${this.path}/connection`, { role, data, kurentoOptions });
    assert.equal(status, 200, "a connection can be created");
    return json.token;
  }

  async connections() {
    const { status, json } = await this.daemon.rest("GET", `${this.path}/connection`);
    assert.equal(status, 200);
    return json.content;
  }

  /** The ids of those who are in the room, as REST tells them. */
  async present() {
    return (await this.connections()).filter(({ status }) => status === "active").map(({ connectionId }) => connectionId).sort();
  }
}
