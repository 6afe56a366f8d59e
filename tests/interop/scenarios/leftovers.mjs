// What a daemon looks like after all calls are over.

import { assert, until } from "../expect.mjs";

// How much resident memory may stay after a whole run: what the allocator keeps for next time.
const RSS_KEPT_MIB = 12;
const DESCRIPTORS_KEPT = 4;

/** Checks that everything has been given back and nothing told that must not be told, then ends the daemon. */
export async function leftovers(daemon, name, secrets) {
  assert.deepEqual(await daemon.sessions(), []);
  const { rss, descriptors } = daemon.start;
  await until("file descriptors are given back", async () => {
    const open = await daemon.descriptors();
    return open <= descriptors + DESCRIPTORS_KEPT || assert.fail(`${open}, at the start ${descriptors}`);
  });
  await until("memory is given back", async () => {
    const resident = await daemon.rss();
    return resident <= rss + RSS_KEPT_MIB || assert.fail(`${resident.toFixed(1)} MiB, at the start ${rss.toFixed(1)} MiB`);
  });
  console.log(`     ${name}: ${rss.toFixed(1)} MiB at the start, ${(await daemon.rss()).toFixed(1)} MiB now`);
  assert.equal(await daemon.stop(), 0);
  assert.deepEqual(daemon.complaints(), []);
  const log = daemon.wholeLog();
  const told = [daemon.secret, ...secrets].filter((secret) => log.includes(secret));
  assert.equal(told.length, 0, `the log tells ${told.length} of ${secrets.size} secrets: ${told.slice(0, 3)}`);
}
