// The matrix: what happens in a call (the families) × published clients × browsers × who offers × UDP or TCP.

import { BROWSERS } from "./browsers.mjs";
import { families } from "./families/index.mjs";
import { VERSIONS } from "./pages.mjs";
import { pairwise, product } from "./pairwise.mjs";

/** `browser` and `version` are those of the one whom a scenario is about, `other` is the browser of the other side. */
export const PARAMETERS = {
  family: families.map(({ name }) => name),
  version: VERSIONS,
  browser: BROWSERS,
  other: BROWSERS,
  offer: ["client", "server"],
  transport: ["udp", "tcp"],
};

const named = new Map(families.map((family) => [family.name, family]));

function fits(cell) {
  return named.get(cell.family).fits?.(cell) ?? true;
}

/**
 * All cells, and the short list for every day: every family with every version, and every other pair of values
 * that is possible. The long lane has every combination, in which the browser of the other side takes turns.
 */
export function matrix() {
  const cells = product(PARAMETERS, fits);
  const short = pairwise(cells.filter(({ family }) => !named.get(family).long));
  const { other, ...rest } = PARAMETERS;
  const full = product(rest).flatMap((cell, index) => {
    const turn = other.map((_, step) => ({ ...cell, other: other[(index + step) % other.length] }));
    return turn.find(fits) ?? [];
  });
  return { cells: cells.filter(({ family }) => !named.get(family).long), short, full };
}

function scenario(cell, isFull) {
  const { run, lane = "matrix", timeout, grace, needs } = named.get(cell.family);
  const { family, version, browser, other, offer, transport } = cell;
  return {
    name: `${family}: ${version} ${browser} with ${other}, ${offer} offers, ${transport}`,
    browsers: [browser, other],
    // UDP is blocked by a packet rule, which needs a namespace.
    needs: transport === "tcp" ? "veth" : needs,
    offer,
    transport,
    lane,
    timeout,
    grace,
    small: lane !== "matrix",
    full: isFull,
    run: (scene) => run(scene, cell),
  };
}

const key = (cell) => Object.keys(PARAMETERS).map((name) => cell[name]).join(" ");

const { short, full } = matrix();
const chosen = new Set(short.map(key));

export const cells = [
  ...short.map((cell) => scenario(cell, false)),
  ...full.filter((cell) => !chosen.has(key(cell))).map((cell) => scenario(cell, true)),
];
