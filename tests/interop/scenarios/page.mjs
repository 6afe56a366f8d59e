// The page on `/` of `serve --dev`, used as a newcomer does.

import { assert, until } from "../expect.mjs";
import { Daemon } from "../daemon.mjs";

async function enter(page, url, name, room, secret) {
  const trouble = [];
  page.on("console", (message) => {
    // 409: the room is there already, which is as good.
    if (message.type() === "error" && !/status of 409/.test(message.text())) trouble.push(message.text());
  });
  page.on("pageerror", (error) => trouble.push(String(error?.message ?? error)));
  await page.goto(url, { waitUntil: "load", timeout: 15_000 });
  // The secret of a development server is filled in on loopback addresses only.
  await page.$eval("#secret", (field, value) => {
    field.value ||= value;
  }, secret);
  await page.type("#name", name);
  await page.$eval("#room", (field, value) => {
    field.value = value;
  }, room);
  await page.click("#join");
  return trouble;
}

async function tiles(page, count) {
  return until(`${count} pictures move`, () => page.$$eval("#tiles video", (videos, wanted) =>
    videos.length === wanted && videos.every((video) => video.videoWidth > 0 && video.currentTime > 1), count), { within: 20_000 });
}

async function says(page, text) {
  await page.type("#chat-text", text);
  await page.keyboard.press("Enter");
}

const hears = (page, who, text) => until(`${who}: ${text}`, () => page.$$eval("#messages li", (items, name, wanted) =>
  items.some((item) => item.querySelector("b")?.textContent === name && item.textContent === name + wanted), who, text));

async function twoWindows(scene, first, second) {
  const daemon = await Daemon.start(scene.world, { dev: true });
  try {
    // One after the other: Firefox plays nothing in a tab that nobody has looked at yet.
    const ann = await scene.tab(first);
    const troubles = [await enter(ann, `${daemon.url}/`, "Ann", "hall", daemon.secret)];
    await tiles(ann, 1);
    const bob = await scene.tab(second);
    troubles.push(await enter(bob, `${daemon.url}/`, "Bob", "hall", daemon.secret));
    await Promise.all([tiles(ann, 2), tiles(bob, 2)]);
    await says(ann, "Hello 안녕 <b>&amp;</b>");
    await Promise.all([hears(ann, "You", "Hello 안녕 <b>&amp;</b>"), hears(bob, "Ann", "Hello 안녕 <b>&amp;</b>")]);
    await bob.click("#toggle-mic");
    await until("Bob is shown as muted", () => ann.$$eval(".tile.no-audio:not(.own)", (found) => found.length === 1));
    await bob.click("#leave");
    await until("Ann is alone", () => ann.$$eval("#tiles video", (videos) => videos.length === 1));
    await bob.waitForSelector("#lobby:not([hidden])", { timeout: 5000 });
    await ann.click("#leave");
    await until("the room is closed", async () => (await daemon.sessions()).length === 0);
    assert.deepEqual(troubles, [[], []], "neither errors nor refusals of the content policy");
    assert.equal(await daemon.stop(), 0);
  } finally {
    daemon.kill();
    await daemon.remove();
  }
}

async function wrongSecretAndOtherRoom(scene) {
  const daemon = await Daemon.start(scene.world, { dev: true });
  try {
    const ann = await scene.tab();
    await enter(ann, `${daemon.url}/`, "Ann", "hall", daemon.secret);
    await tiles(ann, 1);
    const eve = await scene.tab();
    await eve.goto(`${daemon.url}/?secret=guessed`, { waitUntil: "load", timeout: 15_000 });
    assert.equal(eve.url(), `${daemon.url}/`, "a secret does not stay in the address");
    await eve.type("#name", "Eve");
    await eve.click("#join");
    await until("Eve is told", () => eve.$eval("#lobby-message", (box) => !box.hidden && box.textContent === "The secret is not right."));
    await enter(eve, `${daemon.url}/`, "Eve", "kitchen", daemon.secret);
    await tiles(eve, 1);
    await says(ann, "in the hall");
    await hears(ann, "You", "in the hall");
    assert.deepEqual(await eve.$$eval("#messages li", (items) => items.map((item) => item.textContent)), []);
    assert.deepEqual((await daemon.sessions()).map(({ sessionId }) => sessionId).sort(), ["hall", "kitchen"]);
    await Promise.all([ann.click("#leave"), eve.click("#leave")]);
    await until("both rooms are closed", async () => (await daemon.sessions()).length === 0);
  } finally {
    daemon.kill();
    await daemon.remove();
  }
}

export const page = [
  {
    name: "the page on /: a call with chat in two windows of Chromium on 127.0.0.1",
    needs: "host",
    browsers: ["chromium"],
    run: (scene) => twoWindows(scene, "chromium", "chromium"),
  },
  {
    name: "the page on /: Chromium and Firefox on one machine",
    needs: "host",
    browsers: ["chromium", "firefox"],
    run: (scene) => twoWindows(scene, "chromium", "firefox"),
  },
  {
    name: "the page on /: a wrong secret is refused, and another room hears nothing",
    needs: "host",
    browsers: ["chromium"],
    run: wrongSecretAndOtherRoom,
  },
  {
    name: "the page on /: two windows of Firefox on another machine",
    needs: "veth",
    browsers: ["firefox"],
    run: (scene) => twoWindows(scene, "firefox", "firefox"),
  },
];
