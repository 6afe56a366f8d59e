// What families have in common.

import { NEWEST } from "../pages.mjs";

/** The one whom a cell is about. */
export const first = ({ browser, version }, more = {}) => ({ browser, version, ...more });
/** The other side: the newest client in the cell's other browser. */
export const second = ({ other }, more = {}) => ({ browser: other, version: NEWEST, ...more });

/** Whether a client is `version` or newer. */
export function since(version, { version: has }) {
  const [major, minor] = version.split(".").map(Number);
  const [hasMajor, hasMinor] = has.split(".").map(Number);
  return hasMajor > major || (hasMajor === major && hasMinor >= minor);
}

/** ann, as the cell says, and bob of the other side in a call. */
export function callOfTwo(scene, cell, { room: properties = {}, ann: forAnn = {}, bob: forBob = {} } = {}) {
  return scene.begin(async () => {
    const room = await scene.room(properties);
    const ann = await scene.join(room, "ann", first(cell, forAnn));
    const bob = await scene.join(room, "bob", second(cell, forBob));
    await Promise.all([ann.publish(), bob.publish()]);
    await Promise.all([ann.receives(bob), bob.receives(ann)]);
    return { room, ann, bob };
  });
}

/** ann, on a page that has forgotten everything, is in the call again as somebody new. */
export async function joinsAnew(room, ann, bob) {
  await ann.connect(await room.token());
  await ann.publish();
  await Promise.all([bob.receives(ann), ann.receives(bob)]);
}

/** Whether a picture has these proportions: a sender may shrink what it sends. */
export function hasShape({ width: shownWidth, height: shownHeight }, width, height) {
  return shownHeight > 0 && Math.abs(shownWidth / shownHeight - width / height) < 0.05;
}
