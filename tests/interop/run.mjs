// Runs the scenarios. As root it builds hosts of its own (network namespaces), one pair for each lane, and runs
// there whatever needs no particular place; what a newcomer does runs on this host, afterwards.
//
//   node run.mjs [--only TEXT …] [--lane NAME …] [--full] [--list]        NAME: see LANES, or towns
//
// HANOK_BIN names the daemon, default target/debug/hanok.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { sleep, within } from "./expect.mjs";
import { CameraStoodStill } from "./party.mjs";
import { leftovers } from "./scenarios/leftovers.mjs";
import { scenarios } from "./scenarios/index.mjs";
import { Stage } from "./stage.mjs";
import { Town, TownWorld } from "./town.mjs";
import { hostWorld, Namespaces, vethWorld } from "./world.mjs";

const DEFAULT_TIMEOUT = 60_000;
// What one row or town may take, far above what it takes on two quiet cores.
const LIMIT = { short: 14 * 60_000, full: 58 * 60_000 };
const MARK = "INTEROP_RUN";

// Scenarios of one lane run in order, `width` side by side. Lanes of one row share browsers and daemons and follow
// one another; rows follow one another too, each in a world of its own: side by side they would be late. What stands
// still for a minute leaves room for more.
const LANES = { calls: { width: 1 }, matrix: { width: 3 }, waits: { width: 5 }, stands: { width: 8 }, moves: { width: 1 }, rates: { width: 1 } };
const ROWS = [["calls", "matrix"], ["waits"], ["stands"], ["moves", "rates"]];
// Towns follow the rows. Two cores play no more of them than this without being late.
const TOWNS_AT_ONCE = 3;

// Set for the run that happens inside the browsers' namespace: the name of the daemon's one and the row, or the town.
const { INTEROP_SERVER_NAMESPACE: SERVER_NAMESPACE, INTEROP_ROW: ROW, INTEROP_TOWN: TOWN } = process.env;

const { values: options } = parseArgs({
  options: { only: { type: "string", multiple: true, default: [] }, full: { type: "boolean" }, lane: { type: "string", multiple: true, default: [] }, list: { type: "boolean" } },
});

const counts = { passed: 0, failed: 0, skipped: 0 };
// Somebody wants the run to end: nothing more begins.
let isStopped = false;

if (options.list) {
  for (const { name, needs, full, town, lane = "calls" } of scenarios) {
    if (isChosen({ name, full, town, lane })) console.log(`${town ?? lane}: ${name}${needs ? ` [${needs}]` : ""}`);
  }
} else if (SERVER_NAMESPACE) {
  await inWorld(vethWorld(SERVER_NAMESPACE), ofRow(ROWS[ROW]));
  process.send(counts, () => process.exit());
} else if (TOWN) {
  const world = new TownWorld(JSON.parse(TOWN));
  await inWorld(world, ofTown(world.kind));
  process.send(counts, () => process.exit());
} else {
  const started = Date.now();
  // The children are known by this mark in their environment, whoever their parent has become.
  process.env[MARK] = `${process.pid}`;
  const rows = Namespaces.possible() ? [...ROWS.keys()].filter((row) => ofRow(ROWS[row]).length > 0) : [];
  for (const row of rows) if (!isStopped) await inRow(row);
  if (Namespaces.possible()) await inTowns();
  await inWorld(hostWorld(), chosen().filter(({ needs }) => needs === "host" || !Namespaces.possible()));
  await nobodyIsLeft();
  console.log(`in ${seconds(started)} s`);
  const { passed, failed, skipped } = counts;
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function isChosen({ name, full, town, lane = "calls" }) {
  return (options.full || !full) && (options.lane.length === 0 || options.lane.includes(town ? "towns" : lane)) && options.only.every((text) => name.includes(text));
}

function chosen() {
  return scenarios.filter(isChosen);
}

function ofRow(lanes) {
  return chosen().filter(({ needs, town, lane = "calls" }) => needs !== "host" && !town && lanes.includes(lane));
}

function ofTown(name) {
  return chosen().filter(({ town }) => town === name);
}

function seconds(since) {
  return ((Date.now() - since) / 1000).toFixed(1);
}

function inRow(row) {
  const namespaces = new Namespaces(row);
  return inNamespaces(namespaces, `the row ${ROWS[row]}`, { INTEROP_SERVER_NAMESPACE: namespaces.server, INTEROP_ROW: row });
}

// While one town waits, others play.
async function inTowns() {
  const names = [...new Set(chosen().map(({ town }) => town).filter(Boolean))];
  const next = async () => {
    while (names.length > 0 && !isStopped) {
      const town = new Town(names.shift());
      await inNamespaces(town, `the town ${town.name}`, { INTEROP_TOWN: JSON.stringify(town) });
    }
  };
  await Promise.all(Array.from({ length: TOWNS_AT_ONCE }, next));
}

// The same program once more, inside the browsers' namespace.
async function inNamespaces(namespaces, where, environment) {
  const signals = ["SIGINT", "SIGTERM"];
  let child;
  const forward = () => {
    isStopped = true;
    child?.kill("SIGTERM");
  };
  for (const signal of signals) process.on(signal, forward);
  try {
    namespaces.create();
    child = spawn("ip", ["netns", "exec", namespaces.clients, process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, ...environment },
    });
    const results = new Promise((resolve) => child.once("message", resolve));
    const ended = new Promise((resolve) => child.once("exit", (...how) => resolve(how)));
    const [code, signal] = await within(options.full ? LIMIT.full : LIMIT.short, where, ended);
    if (code !== 0) throw new Error(`the run in the namespaces ended with ${signal ?? code}`);
    const inside = await within(1000, "the results", results);
    for (const key of Object.keys(counts)) counts[key] += inside[key];
  } catch (error) {
    child?.kill("SIGTERM");
    counts.failed += 1;
    console.log(`FAIL ${error.message}`);
  } finally {
    namespaces.remove();
    for (const signal of signals) process.off(signal, forward);
  }
}

async function inWorld(world, list) {
  if (list.length === 0 || isStopped) return;
  const stage = new Stage(world);
  const stop = async () => {
    isStopped = true;
    await stage.close();
    process.exit(1);
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, stop);
  try {
    await world.open?.();
    await stage.open();
    console.log(`-- ${world.kind}: ${(await stage.versions()).join(", ")}, daemon on ${world.address}`);
    for (const [name, { width }] of Object.entries(LANES)) {
      const waiting = list.filter(({ lane = "calls" }) => lane === name);
      const turns = async () => {
        for (let next = waiting.shift(); next && !isStopped; next = waiting.shift()) await play(stage, next);
      };
      await Promise.all(Array.from({ length: width }, turns));
    }
    if (stage.hasDaemons && !isStopped) await play(stage, { name: `afterwards nothing is left (${world.kind})`, run: () => stage.dismiss(leftovers) });
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL no scenario could begin (${world.kind})\n${indent(error.stack ?? String(error))}`);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"]) process.off(signal, stop);
    await stage.close();
    world.close?.();
  }
}

async function play(stage, scenario, { isRepeated = false } = {}) {
  const { name, needs, town, run, timeout = DEFAULT_TIMEOUT, ...settings } = scenario;
  const elsewhere = (needs === "veth" && stage.world.kind !== "veth") || (town && stage.world.kind !== town);
  if (elsewhere || (settings.browsers?.includes("firefox") && !stage.world.hasInterface)) {
    counts.skipped += 1;
    console.log(`skip       ${name}`);
    return;
  }
  const started = Date.now();
  const scene = stage.scene(settings);
  try {
    try {
      await within(timeout, "the scenario", run(scene));
    } finally {
      await stage.world.restore?.();
    }
    await within(30_000, "leaving", scene.leave());
    counts.passed += 1;
    console.log(`ok   ${seconds(started).padStart(5)} ${name}`);
  } catch (error) {
    if (isStopped) return;
    if (error instanceof CameraStoodStill && !isRepeated) {
      console.log(`again      ${name}: ${error.message.slice(0, 240)}`);
      await within(30_000, "leaving", scene.leave());
      await play(stage, scenario, { isRepeated: true });
      return;
    }
    counts.failed += 1;
    const after = seconds(started).padStart(5);
    const { folder, told } = await within(60_000, "collecting", scene.collect(name)).catch((late) => ({ folder: late.message, told: [] }));
    const stack = String(error.stack ?? error).split("\n").filter((line) => !/^ +at /.test(line) || /scenarios|families/.test(line));
    const lines = [...stack, ...told.map((line) => line.slice(0, 240)), `pictures and logs: ${folder}`];
    console.log(`FAIL ${after} ${name}\n${indent(lines.join("\n"))}`);
  }
}

function indent(text) {
  return text.split("\n").map((line) => `     ${line}`).join("\n");
}

// Neither a process nor a namespace of this run may outlive it. A browser's helpers take a moment to notice.
async function nobodyIsLeft() {
  let left = leftBehind();
  for (let patience = 50; left.length > 0 && patience > 0; patience -= 1) {
    await sleep(100);
    left = leftBehind();
  }
  if (left.length === 0) return;
  counts.failed += 1;
  console.log(`FAIL left behind: ${left.join(", ")}`);
}

function leftBehind() {
  const left = [...Namespaces.left(), ...Town.left()];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      if (environment.includes(`${MARK}=${process.pid}`)) left.push(`${pid} ${readFileSync(`/proc/${pid}/comm`, "utf8").trim()}`);
    } catch {
      // It ended meanwhile, or is somebody else's.
    }
  }
  return left;
}
