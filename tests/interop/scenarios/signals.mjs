// Chat: what is said arrives unchanged, with whoever it is meant for, and with nobody else.

import { assert } from "../expect.mjs";

const TEXTS = [
  "안녕하세요, 한옥! Grüße, привет 👩‍👩‍👧 \u0000\u2028",
  JSON.stringify({ text: 'a "quoted" \\ text', nested: { list: [1, null, true], empty: {} } }),
  "",
];

export const signals = [
  {
    name: "chat reaches everybody, the sender included, with UTF-8 and JSON inside",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser: "chromium" });
      const bob = await scene.join(room, "bob", { browser: "firefox" });
      const cy = await scene.join(room, "cy", { browser: "chromium", version: "2.20.0" });
      for (const sender of [ann, bob, cy]) {
        for (const data of TEXTS) await sender.signal({ type: "chat", data });
      }
      for (const party of [ann, bob, cy]) {
        await party.event("signal", { from: cy.connectionId, data: TEXTS.at(-1) });
        const expected = [ann, bob, cy].flatMap((sender) =>
          TEXTS.map((data) => ({ type: "signal", signalType: "signal:chat", data, from: sender.connectionId })));
        assert.deepEqual(await party.events("signal"), expected);
      }
    },
  },
  {
    name: "a targeted signal reaches only those it names",
    browsers: ["chromium", "firefox"],
    async run(scene) {
      const room = await scene.room();
      const ann = await scene.join(room, "ann", { browser: "firefox" });
      const bob = await scene.join(room, "bob", { browser: "chromium" });
      const cy = await scene.join(room, "cy", { browser: "firefox" });
      await ann.signal({ type: "whisper", data: "for bob", to: [bob.connectionId] });
      await ann.signal({ type: "whisper", data: "for bob and cy", to: [bob.connectionId, cy.connectionId] });
      await ann.signal({ data: "for all, without a type" });
      const last = { data: "for all, without a type", from: ann.connectionId };
      for (const party of [ann, bob, cy]) await party.event("signal", last);
      const heard = async (party) => (await party.events("signal")).map(({ data }) => data);
      assert.deepEqual(await heard(ann), [last.data]);
      assert.deepEqual(await heard(bob), ["for bob", "for bob and cy", last.data]);
      assert.deepEqual(await heard(cy), ["for bob and cy", last.data]);
    },
  },
];
