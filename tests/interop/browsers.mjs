// Debian's own Chromium and Firefox, headless, with made-up cameras. ICE settings are left as they come.

import { readFileSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import puppeteer from "puppeteer-core";

export const BROWSERS = ["chromium", "firefox"];

const LAUNCH = {
  chromium: {
    browser: "chrome",
    executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--mute-audio",
      "--ignore-certificate-errors",
      "--autoplay-policy=no-user-gesture-required",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
    ],
  },
  firefox: {
    browser: "firefox",
    executablePath: process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: {
      "media.navigator.streams.fake": true,
      "media.navigator.permission.disabled": true,
      "media.autoplay.default": 0,
      "media.volume_scale": "0.0",
    },
  },
};

/** Launches browsers when they are first asked for and keeps them for the whole run. */
export class Browsers {
  #launched = new Map();
  #isOver = false;

  get(kind) {
    if (this.#isOver) throw new Error("the browsers are closed");
    if (!this.#launched.has(kind)) this.#launched.set(kind, launch(kind));
    return this.#launched.get(kind);
  }

  async close() {
    this.#isOver = true;
    await Promise.all([...this.#launched.values()].map(async (launching) => {
      const launched = await launching.catch(() => null);
      if (launched) await quit(launched);
    }));
    this.#launched.clear();
  }
}

/** Ends a browser and what it has written. */
export async function quit({ browser, profile }) {
  signalAll(browser.process()?.pid, "SIGCONT");
  await Promise.race([browser.close().catch(() => {}), sleep(5000, null, { ref: false })]);
  browser.process()?.kill("SIGKILL");
  await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}

/** Signals a process that we started and all its descendants, the eldest first. */
export function signalAll(pid, signal) {
  if (!pid) return;
  const children = new Map();
  for (const entry of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const [, parent] = /\) \S+ (\d+) /.exec(readFileSync(`/proc/${entry}/stat`, "utf8"));
      children.set(Number(parent), [...(children.get(Number(parent)) ?? []), Number(entry)]);
    } catch {
      // It ended meanwhile.
    }
  }
  for (let generation = [pid]; generation.length > 0; generation = generation.flatMap((one) => children.get(one) ?? [])) {
    for (const one of generation) {
      try {
        process.kill(one, signal);
      } catch {
        // It ended meanwhile.
      }
    }
  }
}

/**
 * @param options authority: one that this browser trusts (authority.mjs); then, unlike otherwise, it looks at certificates
 */
export async function launch(kind, { authority } = {}) {
  const profile = await mkdtemp(join(tmpdir(), `hanok-${kind}-`));
  const settings = { ...LAUNCH[kind] };
  if (authority) {
    settings.args = settings.args?.filter((argument) => argument !== "--ignore-certificate-errors");
    // Chromium looks for what its user trusts at home.
    settings.env = { ...process.env, HOME: profile, XDG_DATA_HOME: undefined };
    for (const folder of kind === "firefox" ? [profile] : [join(profile, ".pki/nssdb"), join(profile, ".local/share/pki/nssdb")]) await authority.trustIn(folder);
  }
  const browser = await puppeteer.launch({
    ...settings,
    headless: true,
    // Whoever runs the scenarios ends the browsers, after what hangs on them.
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
    acceptInsecureCerts: !authority,
    userDataDir: profile,
    protocolTimeout: 30_000,
    defaultViewport: { width: 1000, height: 700 },
  });
  return { browser, profile, version: await browser.version() };
}
