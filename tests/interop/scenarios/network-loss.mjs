// What is left of the pictures on a lossy line, in Chromium: a measurement, for an idle machine. A minute on a clean
// line comes first, so that what the machine itself cannot do is not taken for loss.

import { assert, sleep } from "../expect.mjs";

const SUBSCRIBERS = Number(process.env.INTEROP_SUBSCRIBERS ?? 10);
const SETTLING_S = 20;
const MEASURED_S = 60;
const KBPS = 1500;
const DELIVERED = 0.995;
const FREEZES_PER_MINUTE = 1;

const percent = (share) => `${(100 * share).toFixed(2)} %`;

/** What a minute of the call was like; prints a line for everybody. */
async function minute(what, ann, viewers, world) {
  await sleep(1000 * SETTLING_S);
  const look = async () => {
    const [own, seen, line] = await Promise.all([
      ann.published(), Promise.all(viewers.map((viewer) => viewer.subscribed(ann.streamId))), world.lineStats(),
    ]);
    return { at: own.at, sent: own.sent.video, received: seen.map((stats) => stats.received.video), line };
  };
  const before = await look();
  await sleep(1000 * MEASURED_S);
  const after = await look();

  const sent = (field) => after.sent[field] - before.sent[field];
  const lost = (way) => (after.line[way].lost - before.line[way].lost) / (after.line[way].packets - before.line[way].packets);
  console.log(`     ${what}: ${percent(lost("up"))} lost up, ${percent(lost("down"))} down`);
  console.log(`     published: ${Math.round((8 * sent("bytes")) / (after.at - before.at))} kbit/s, ${sent("framesSent")} frames, `
    + `${sent("packets")} packets, ${sent("retransmitted")} again, asked for a key frame ${sent("pliCount")} times`);
  const rows = after.received.map((received, index) => {
    const since = (field) => received[field] - before.received[index][field];
    console.log(`     ${viewers[index].name}: decoded ${percent(since("frames") / sent("framesSent"))}, freezes ${since("freezes")}, `
      + `asked ${since("nackCount")} times, got ${since("retransmitted")} again, asked for a key frame ${since("pliCount")} times`);
    return { decoded: since("frames") / sent("framesSent"), freezes: since("freezes") };
  });
  return { rows, packets: sent("packets"), retransmitted: sent("retransmitted") };
}

export const losses = [
  {
    name: `loss: 5 % each way, 40 ms there and back, one publishes ${KBPS} kbit/s to ${SUBSCRIBERS} for a minute`,
    town: "loss",
    browsers: ["chromium"],
    full: true,
    timeout: 300_000,
    environment: () => ({
      OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH: KBPS,
      OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH: 2 * KBPS,
    }),
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann");
      await ann.publish({ source: "restless" });
      // All in one tab, which is cheaper than a window each.
      const viewers = [await scene.join(room, "viewer 1", { role: "SUBSCRIBER" })];
      while (viewers.length < SUBSCRIBERS) {
        viewers.push(await scene.joinAgain(room, viewers[0], `viewer ${viewers.length + 1}`, { role: "SUBSCRIBER" }));
      }
      await Promise.all(viewers.map((viewer) => viewer.receives(ann, { limit: 30_000 })));
      const clean = await minute("a clean line", ann, viewers, scene.world);
      await scene.world.line("delay 20 loss 5%");
      const lossy = await minute("a lossy line", ann, viewers, scene.world);

      assert.ok(lossy.retransmitted < 0.15 * lossy.packets, "the publisher is asked for what it lost, not for what viewers lost");
      for (const [index, { decoded, freezes }] of lossy.rows.entries()) {
        assert.ok(decoded >= DELIVERED, `${viewers[index].name} decoded ${percent(decoded)}`);
        const more = freezes - clean.rows[index].freezes;
        assert.ok(more <= FREEZES_PER_MINUTE, `${viewers[index].name} saw ${more} more freezes`);
      }
    },
  },
];
