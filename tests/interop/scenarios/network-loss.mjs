// What is left of the pictures on a lossy line, measured in Chromium. A measurement, not a scenario of a kind:
// it wants an idle machine.

import { assert, sleep } from "../expect.mjs";

const SUBSCRIBERS = Number(process.env.INTEROP_SUBSCRIBERS ?? 10);
const SETTLING_S = 20;
const MEASURED_S = 60;
const KBPS = 1500;
const DELIVERED = 0.995;
const FREEZES_PER_MINUTE = 1;

export const losses = [
  {
    name: `loss: 5 % each way, 40 ms there and back, one publishes ${KBPS} kbit/s to ${SUBSCRIBERS} for a minute`,
    town: "loss",
    browsers: ["chromium"],
    full: true,
    timeout: 240_000,
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
      await scene.world.line("delay 20 loss 5%");
      await sleep(1000 * SETTLING_S);
      const look = async () => {
        const [own, seen, line] = await Promise.all([
          ann.published(), Promise.all(viewers.map((viewer) => viewer.subscribed(ann.streamId))), scene.world.lineStats(),
        ]);
        return { at: own.at, sent: own.sent.video, received: seen.map((stats) => stats.received.video), line };
      };
      const before = await look();
      await sleep(1000 * MEASURED_S);
      const after = await look();

      const seconds = (after.at - before.at) / 1000;
      const sent = (field) => after.sent[field] - before.sent[field];
      const frames = sent("framesSent");
      const rows = after.received.map((received, index) => {
        const since = (field) => received[field] - before.received[index][field];
        return {
          delivered: since("framesReceived") / frames,
          decoded: since("frames") / frames,
          freezes: since("freezes"),
          nacks: since("nackCount"),
          again: since("retransmitted"),
          pli: since("pliCount"),
        };
      });
      const lost = ["up", "down"].map((way) => (100 * (after.line[way].lost - before.line[way].lost)) / (after.line[way].packets - before.line[way].packets));
      const percent = (share) => `${(100 * share).toFixed(2)} %`;
      console.log(`     lost by the line: ${lost.map((share) => share.toFixed(2)).join(" % up, ")} % down`);
      console.log(`     published: ${Math.round((8 * sent("bytes")) / seconds / 1000)} kbit/s, ${frames} frames, ${sent("packets")} packets, `
        + `${sent("retransmitted")} again, asked for a key frame ${sent("pliCount")} times`);
      for (const [index, { delivered, decoded, freezes, nacks, again, pli }] of rows.entries()) {
        console.log(`     viewer ${index + 1}: delivered ${percent(delivered)}, decoded ${percent(decoded)}, freezes ${freezes}, `
          + `asked ${nacks} times, got ${again} again, asked for a key frame ${pli} times`);
      }
      const worst = Math.min(...rows.map(({ delivered }) => delivered));
      assert.ok(sent("retransmitted") < 0.15 * sent("packets"), "the publisher is asked for what it lost, not for what viewers lost");
      assert.ok(worst >= DELIVERED, `the worst viewer got ${percent(worst)}`);
      const frozen = Math.max(...rows.map(({ freezes }) => freezes));
      assert.ok(frozen <= (FREEZES_PER_MINUTE * seconds) / 60 + 1, `${frozen} freezes`);
    },
  },
];
