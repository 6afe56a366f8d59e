// One participant: a published client (page/party.js) in a tab of a browser.

import { assert, sleep, until, within } from "./expect.mjs";

const CONNECT_WITHIN = 15_000;
const AEAD = /AEAD_AES_(256|128)_GCM$/;

/** A browser's own fake camera has stopped yielding pictures, as Chromium's does on a busy machine now and then. */
export class CameraStoodStill extends Error {}

export class Party {
  connectionId = null;
  streamId = null;
  /** Whether the media of this party is expected on TCP or on UDP. */
  protocol = "udp";
  /** The cord that its WebSocket hangs on (cord.mjs), where a scenario asked for one. */
  cord = null;
  /** What it publishes when a scenario says nothing else. */
  habits = {};
  #number;

  constructor(page, name, browser, version, number = 0) {
    this.page = page;
    this.name = name;
    this.browser = browser;
    this.version = version;
    this.#number = number;
    this.console = [];
    page.on("console", (message) => this.#note(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => this.#note(`uncaught: ${error?.message ?? error}`));
  }

  #note(line) {
    if (this.console.length < 200) this.console.push(line);
  }

  toString() {
    return `${this.name} (${this.browser}, client ${this.version})`;
  }

  /** Another connection of the same user: a second client in the same tab. */
  async another(name) {
    const number = await this.page.evaluate(() => window.addParty());
    const party = new Party(this.page, name, this.browser, this.version, number);
    party.protocol = this.protocol;
    party.habits = this.habits;
    return party;
  }

  /** Loads the page anew, as a user does: whoever was in it is gone without a word. */
  async reload() {
    await this.page.reload({ waitUntil: "load", timeout: 15_000 });
    this.connectionId = null;
    this.streamId = null;
  }

  // Calls the party in the page and turns what it tells about failures into an Error.
  async #call(method, ...args) {
    const answer = await within(
      CONNECT_WITHIN + 5000,
      `${this}: ${method}`,
      this.page.evaluate((number, name, values) => window.parties[number][name](...values), this.#number, method, args),
    );
    if (answer?.error) throw Object.assign(new Error(`${this}: ${method}: ${answer.error.message}`), { told: answer.error });
    return answer && "value" in answer ? answer.value : answer;
  }

  // What is the page's and not one client's.
  #setting(name, ...args) {
    return this.page.evaluate((method, values) => window.settings[method](...values), name, args);
  }

  async connect(token, data = JSON.stringify({ clientData: this.name })) {
    this.connectionId = await within(CONNECT_WITHIN, `${this}: connect`, this.#call("connect", token, data));
    return this;
  }

  async publish(options = {}) {
    this.streamId = await within(CONNECT_WITHIN, `${this}: publish`, this.#call("publish", { ...this.habits, ...options }));
    return this.streamId;
  }

  configure(advanced) { return this.#call("configure", advanced); }
  unpublish() { return this.#call("unpublish"); }
  publishAudio(...how) { return this.#call("publishAudio", ...how); }
  publishVideo(...how) { return this.#call("publishVideo", ...how); }
  replaceVideo(width, height) { return this.#call("replaceVideo", width, height); }
  reconnectStream(streamId) { return this.#call("reconnectStream", streamId); }
  forceUnpublish(streamId) { return this.#call("forceUnpublish", streamId); }
  forceDisconnect(connectionId) { return this.#call("forceDisconnect", connectionId); }
  unsubscribe(streamId) { return this.#call("unsubscribe", streamId); }
  setAutoSubscribe(on) { return this.#call("setAutoSubscribe", on); }
  subscribe(streamId) { return this.#call("subscribe", streamId); }
  signal(signal) { return this.#call("signal", signal); }
  disconnect() { return this.#call("disconnect"); }
  subscribed(streamId) { return this.#call("subscribed", streamId); }
  published() { return this.#call("published"); }
  setDamage(damage) { return this.#setting("setDamage", damage); }
  damagedAnswer() { return this.#setting("damagedAnswer"); }
  secrets() { return this.#setting("secrets"); }
  /** Publishes with these codecs only, best first; `null` for all. */
  admit(codecs) { return this.#setting("admit", codecs); }
  /** From now on no transport of this page takes TCP. */
  setUdpOnly() { return this.#setting("setUdpOnly"); }
  /** From now on the page's timers run once a minute. */
  slowDown() { return this.#setting("slowDown"); }
  slowMinutes() { return this.#setting("slowMinutes"); }

  async events(type) {
    const all = await this.#call("events");
    return type ? all.filter((event) => event.type === type) : all;
  }

  /** Waits for an event of `type` that has all of `fields`. */
  async event(type, fields = {}, options) {
    return until(`${this}: ${type} ${JSON.stringify(fields)}`, async () => {
      const seen = await this.events(type);
      return seen.find((event) => Object.entries(fields).every(([key, value]) => event[key] === value))
        ?? (seen.length > 0 ? assert.fail(JSON.stringify(seen)) : null);
    }, options);
  }

  /**
   * Waits until media of `stream` (a Party that publishes) really arrives: frames are decoded and audio
   * packets come in, and both go on rising. A kind that is not published must not arrive at all.
   */
  async receives(publisher, options) {
    try {
      return await this.#receives(publisher, options);
    } catch (error) {
      // Whose fault it is shows at the other end.
      const sent = await publisher.published().catch((late) => ({ late: late.message }));
      const message = `${error.message}; sent: ${JSON.stringify(sent)}`;
      await sleep(1000);
      const later = await publisher.published().catch(() => ({}));
      const isStill = options?.video !== false && later?.captured !== undefined && later.captured === sent?.captured;
      throw isStill ? new CameraStoodStill(message) : new Error(message, { cause: error });
    }
  }

  async #receives(publisher, { audio = true, video = true, limit = 15_000 } = {}) {
    const id = publisher.streamId;
    let first = await until(`${this}: media of ${publisher}`, async () => {
      const stats = await this.subscribed(id);
      if (audio && !(stats?.received.audio?.packets > 0)) throw new Error(JSON.stringify(stats));
      if (video && !(stats?.received.video?.frames > 0)) throw new Error(JSON.stringify(stats));
      return stats;
    }, { within: limit });
    const later = await until(`${this}: media of ${publisher} goes on`, async () => {
      const stats = await this.subscribed(id);
      // A new transport counts from the start.
      if (stats && stats.transport !== first.transport) first = stats;
      if (audio && !(stats?.received.audio?.packets >= (first.received.audio?.packets ?? 0) + 20)) throw new Error(JSON.stringify(stats));
      if (video && !(stats?.received.video?.frames >= (first.received.video?.frames ?? 0) + 8)) throw new Error(JSON.stringify(stats));
      return stats;
    }, { within: limit });
    if (!audio) assert.equal(later.received.audio?.packets ?? 0, 0, `${this}: audio was not expected`);
    if (!video) assert.equal(later.received.video?.packets ?? 0, 0, `${this}: video was not expected`);
    this.#isInOrder(later);
    const own = publisher.page.isClosed() ? null : await publisher.published();
    if (own) publisher.#isInOrder(own);
    return later;
  }

  // Both browsers name the SRTP profile and the protocol of a transport, so they are checked in every call.
  #isInOrder(stats) {
    assert.match(stats.srtpCipher ?? "none", AEAD, `${this}: an AEAD profile protects the media`);
    if (stats.protocol) assert.equal(stats.protocol, this.protocol, `${this}: the protocol of the media`);
  }
}
