// Limits on video: kurentoOptions of a connection, else the environment file.

import { BROWSERS } from "../browsers.mjs";
import { assert, sleep } from "../expect.mjs";

async function measure(from, to, seconds) {
  const at = [];
  for (let second = 0; second <= seconds; second += 1) {
    const [sent, received] = await Promise.all([from.published(), to?.subscribed(from.streamId)]);
    at.push({ sent: sent.sent.video, audio: sent.sent.audio, received: received?.received.video, now: sent.at, then: received?.at, available: sent.available });
    if (second < seconds) await sleep(1000);
  }
  const rates = at.slice(1).map((b, i) => {
    const a = at[i];
    const ms = b.now - a.now;
    const r = (key, what) => Math.round((b[key][what] - a[key][what]) * 8 / ms);
    return [r("sent", "bytes"), r("sent", "headerBytes"), r("audio", "bytes"), r("audio", "headerBytes"), Math.round(b.available / 1000), (b.sent.packets - a.sent.packets)].join("/");
  });
  console.log(rates.join(" "));
}

export const bandwidth = BROWSERS.flatMap((browser) => [300, 600].map((limit) => ({
  name: `bandwidth: ${browser} ${limit}`,
  browsers: [browser],
  timeout: 75_000,
  async run(stage) {
    const room = await stage.room();
    const ann = await stage.join(room, "ann", { browser, kurentoOptions: { videoMaxRecvBandwidth: limit } });
    const bob = await stage.join(room, "bob", { role: "SUBSCRIBER" });
    await ann.publish({ restless: true });
    await bob.receives(ann);
    await measure(ann, bob, 25);
  },
})));
