// Limits on video: kurentoOptions of a connection, else the environment file. Measured is RTP of the video, payload
// and headers, first sending and repetition, as the browser counts it; the pictures would need several Mbit/s.

import { BROWSERS } from "../browsers.mjs";
import { assert, sleep } from "../expect.mjs";

const SETTLING_S = 12;
const MEASURED_S = 20;
// An encoder meets its rate over seconds, not over each picture.
const WINDOW_S = 5;
const MOST = 1.1;
// What a busy machine makes of the rest is no limit of ours.
const LEAST = 0.7;

/** Samples of the video that `publisher` sends: kbit/s of each window of five seconds. */
async function windows(publisher, seconds) {
  const samples = [];
  for (let second = 0; second <= seconds; second += 1) {
    const { at, sent: { video } } = await publisher.published();
    samples.push({ at, bytes: video.bytes + video.headerBytes });
    if (second < seconds) await sleep(1000);
  }
  return samples.slice(WINDOW_S).map(({ at, bytes }, index) => Math.round((bytes - samples[index].bytes) * 8 / (at - samples[index].at)));
}

async function isHeld(publisher, limit) {
  await sleep(1000 * SETTLING_S);
  const rates = await windows(publisher, MEASURED_S);
  console.log(`     ${publisher}: at most ${limit} kbit/s; in windows of ${WINDOW_S} s: ${rates.join(" ")}`);
  // What keeps it below: its estimate of what the transport may carry, or what it gives its encoder of that.
  const { available, sent: { video } } = await publisher.published();
  console.log(`     bit/s for the transport: ${available}, for the encoder: ${video.target}`);
  assert.ok(Math.max(...rates) <= MOST * limit, `${Math.max(...rates)} kbit/s are more than 10 % above ${limit}`);
  assert.ok(Math.max(...rates) >= LEAST * limit, `${Math.max(...rates)} kbit/s are far below ${limit}`);
}

/** `ann` publishes with what she was given, and somebody watches. */
async function watched(scene, browser, kurentoOptions, viewer) {
  const room = await scene.room();
  const ann = await scene.join(room, "ann", { browser, kurentoOptions });
  const bob = await scene.join(room, "bob", { role: "SUBSCRIBER", kurentoOptions: viewer });
  await ann.publish({ source: "restless" });
  await bob.receives(ann);
  return { room, ann, bob };
}

const own = BROWSERS.flatMap((browser) => [300, 600].map((limit) => ({
  name: `bandwidth: ${browser} sends the ${limit} kbit/s of its kurentoOptions`,
  browsers: [browser],
  full: limit !== 300,
  timeout: 75_000,
  async run(scene) {
    const { ann } = await watched(scene, browser, { videoMaxRecvBandwidth: limit });
    await isHeld(ann, limit);
  },
})));

const configured = BROWSERS.map((browser) => ({
  name: `bandwidth: ${browser} sends the 400 kbit/s of the environment file`,
  browsers: [browser],
  full: true,
  environment: () => ({ OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH: 400 }),
  timeout: 75_000,
  async run(scene) {
    const { ann } = await watched(scene, browser);
    await isHeld(ann, 400);
  },
}));

const towards = BROWSERS.map((browser) => ({
  name: `bandwidth: ${browser} is held to what its most restricted viewer may get, while it watches`,
  browsers: [browser],
  full: browser !== "chromium",
  timeout: 120_000,
  async run(scene) {
    const { room, ann, bob } = await watched(scene, browser, {}, { videoMaxSendBandwidth: 350 });
    await scene.join(room, "cat", { role: "SUBSCRIBER" });
    await isHeld(ann, 350);
    await bob.disconnect();
    await sleep(1000 * SETTLING_S);
    const rates = await windows(ann, MEASURED_S);
    console.log(`     without that viewer: ${rates.join(" ")}`);
    assert.ok(Math.max(...rates) > 1.3 * 350, "it goes on with more");
  },
}));

export const bandwidth = [...own, ...configured, ...towards];
