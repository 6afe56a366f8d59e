// Muting and changing of devices, neither of which negotiates anything anew.

import { assert, sleep, until } from "../expect.mjs";
import { callOfTwo, hasShape, since } from "./house.mjs";

async function isTold(bob, ann, changedProperty, newValue, reason) {
  await bob.event("streamPropertyChanged", { streamId: ann.streamId, changedProperty, newValue, ...(reason && { reason }) });
}

export const muting = [
  {
    name: "muting by switching off and by stopping",
    async run(scene, cell) {
      const { room, ann, bob } = await callOfTwo(scene, cell);
      await ann.publishAudio(false);
      await isTold(bob, ann, "audioActive", false, "publishAudio");
      await ann.publishVideo(false);
      await isTold(bob, ann, "videoActive", false, "publishVideo");
      const { audioActive, videoActive } = (await room.shown(ann)).publishers[0].mediaOptions;
      assert.deepEqual([audioActive, videoActive], [false, false]);
      // Whoever comes now learns it from the start.
      const cy = await scene.join(room, "cy", { role: "SUBSCRIBER" });
      await cy.event("streamCreated", { streamId: ann.streamId, audioActive: false, videoActive: false });
      await ann.publishAudio(true);
      await isTold(bob, ann, "audioActive", true);
      await ann.publishVideo(true);
      await isTold(bob, ann, "videoActive", true);
      await Promise.all([bob.receives(ann), cy.receives(ann)]);
      // 2.20 cannot stop the camera.
      if (!since("2.22", cell)) return;
      await ann.publishVideo(false, true);
      await until("no more pictures arrive", async () => {
        const before = (await bob.subscribed(ann.streamId)).received.video.packets;
        await sleep(500);
        return (await bob.subscribed(ann.streamId)).received.video.packets === before;
      });
      // No packets for a while are no reason to end anything.
      await sleep(1500);
      await ann.publishVideo(true);
      await Promise.all([bob.receives(ann), cy.receives(ann), ann.receives(bob)]);
      for (const type of ["streamDestroyed", "connectionDestroyed"]) assert.equal((await bob.events(type)).length, 0, type);
    },
  },
  {
    name: "device change",
    async run(scene, cell) {
      const { ann, bob } = await callOfTwo(scene, cell);
      const streamId = ann.streamId;
      await bob.event("streamCreated", { streamId, typeOfVideo: "CAMERA" });
      for (const [width, height] of [[640, 360], [240, 320]]) {
        await ann.replaceVideo(width, height);
        await until(`bob sees a picture like ${width}×${height}`, async () => {
          const { shown } = await bob.subscribed(streamId);
          return hasShape(shown, width, height) || assert.fail(JSON.stringify(shown));
        });
        await bob.receives(ann);
        await until("bob is told the new dimensions", async () => {
          const told = await bob.events("streamPropertyChanged");
          return told.some(({ changedProperty, newValue, reason }) =>
            changedProperty === "videoDimensions" && reason === "trackReplaced" && newValue.width === width) || assert.fail(JSON.stringify(told));
        });
      }
      if (since("2.24", cell)) await bob.event("streamPropertyChanged", { streamId, changedProperty: "videoTrack", reason: "trackReplaced" });
      assert.equal((await bob.events("streamDestroyed")).length, 0);
      assert.equal((await bob.events("streamCreated")).length, 1);
      await ann.receives(bob);
    },
  },
];
