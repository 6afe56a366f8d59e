// One participant: a tab in a browser, with a published client in it (page/party.js).

import { assert, until, within } from "./expect.mjs";

const CONNECT_WITHIN = 15_000;
const AEAD = /AEAD_AES_(256|128)_GCM$/;

export class Party {
  connectionId = null;
  streamId = null;

  constructor(page, name, browser, version) {
    this.page = page;
    this.name = name;
    this.browser = browser;
    this.version = version;
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

  // Calls window.party and turns what it tells about failures into an Error.
  async #call(method, ...args) {
    const answer = await within(
      CONNECT_WITHIN + 5000,
      `${this}: ${method}`,
      this.page.evaluate((name, values) => window.party[name](...values), method, args),
    );
    if (answer?.error) throw Object.assign(new Error(`${this}: ${method}: ${answer.error.message}`), { told: answer.error });
    return answer && "value" in answer ? answer.value : answer;
  }

  async connect(token, data = JSON.stringify({ clientData: this.name })) {
    this.connectionId = await within(CONNECT_WITHIN, `${this}: connect`, this.#call("connect", token, data));
    return this;
  }

  async publish(options = {}) {
    this.streamId = await within(CONNECT_WITHIN, `${this}: publish`, this.#call("publish", options));
    return this.streamId;
  }

  configure(advanced) { return this.page.evaluate((value) => window.party.configure(value), advanced); }
  unpublish() { return this.#call("unpublish"); }
  publishAudio(on) { return this.#call("publishAudio", on); }
  publishVideo(on) { return this.#call("publishVideo", on); }
  unsubscribe(streamId) { return this.#call("unsubscribe", streamId); }
  setAutoSubscribe(on) { return this.page.evaluate((value) => window.party.setAutoSubscribe(value), on); }
  subscribe(streamId) { return this.#call("subscribe", streamId); }
  setDamage(damage) { return this.page.evaluate((value) => window.party.setDamage(value), damage); }
  damagedAnswer() { return this.page.evaluate(() => window.party.damagedAnswer()); }
  signal(signal) { return this.#call("signal", signal); }
  disconnect() { return this.#call("disconnect"); }
  subscribed(streamId) { return this.page.evaluate((id) => window.party.subscribed(id), streamId); }
  published() { return this.page.evaluate(() => window.party.published()); }

  events(type) {
    return this.page.evaluate((wanted) => window.party.events().filter((event) => !wanted || event.type === wanted), type);
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
  async receives(publisher, { audio = true, video = true, limit = 15_000 } = {}) {
    const id = publisher.streamId;
    const first = await until(`${this}: media of ${publisher}`, async () => {
      const stats = await this.subscribed(id);
      if (audio && !(stats?.received.audio?.packets > 0)) throw new Error(JSON.stringify(stats));
      if (video && !(stats?.received.video?.frames > 0)) throw new Error(JSON.stringify(stats));
      return stats;
    }, { within: limit });
    const later = await until(`${this}: media of ${publisher} goes on`, async () => {
      const stats = await this.subscribed(id);
      if (audio && !(stats.received.audio.packets >= first.received.audio.packets + 20)) throw new Error(JSON.stringify(stats));
      if (video && !(stats.received.video.frames >= first.received.video.frames + 8)) throw new Error(JSON.stringify(stats));
      return stats;
    }, { within: limit });
    if (!audio) assert.equal(later.received.audio?.packets ?? 0, 0, `${this}: audio was not expected`);
    if (!video) assert.equal(later.received.video?.packets ?? 0, 0, `${this}: video was not expected`);
    this.#isProtected(later);
    const own = publisher.page.isClosed() ? null : await publisher.published();
    if (own) publisher.#isProtected(own);
    return later;
  }

  // Both browsers name the SRTP profile of a transport, so it is checked in every call.
  #isProtected(stats) {
    assert.match(stats.srtpCipher ?? "none", AEAD, `${this}: an AEAD profile protects the media`);
  }
}
