// Runs the scenarios. As root it builds two hosts of its own and runs there whatever needs no particular
// place; what a newcomer does runs on this host.
//
//   node run.mjs [--only TEXT] [--full] [--list]        HANOK_BIN names the daemon, default target/debug/hanok

import { spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { within } from "./expect.mjs";
import { leftovers } from "./scenarios/leftovers.mjs";
import { scenarios } from "./scenarios/index.mjs";
import { Stage } from "./stage.mjs";
import { Town, TownWorld } from "./town.mjs";
import { hostWorld, Namespaces, vethWorld } from "./world.mjs";

const DEFAULT_TIMEOUT = 60_000;
// Set for the run that happens inside the browsers' namespace: the name of the daemon's one.
const SERVER_NAMESPACE = process.env.INTEROP_SERVER_NAMESPACE;
// The same for a town, as JSON.
const TOWN = process.env.INTEROP_TOWN && JSON.parse(process.env.INTEROP_TOWN);
// Two cores play no more than this without being late.
const TOWNS_AT_ONCE = 3;

const { values: options } = parseArgs({
  options: { only: { type: "string" }, full: { type: "boolean" }, list: { type: "boolean" } },
});

const counts = { passed: 0, failed: 0, skipped: 0 };

if (options.list) {
  for (const { name, needs, full } of scenarios) console.log([name, needs && `[${needs}]`, full && "[full]"].filter(Boolean).join(" "));
} else if (SERVER_NAMESPACE) {
  await inWorld(vethWorld(SERVER_NAMESPACE), chosen().filter(({ needs, town }) => needs !== "host" && !town));
  process.send(counts);
  process.disconnect();
} else if (TOWN) {
  const world = new TownWorld(TOWN);
  try {
    await world.open();
    await inWorld(world, chosen().filter(({ town }) => town === TOWN.name));
  } finally {
    world.close();
  }
  process.send(counts);
  process.disconnect();
} else {
  const started = Date.now();
  const onHost = chosen().filter(({ needs }) => needs === "host" || !Namespaces.possible());
  if (Namespaces.possible()) {
    if (chosen().some(({ needs, town }) => needs !== "host" && !town)) {
      const namespaces = new Namespaces();
      await inNamespaces(namespaces, { INTEROP_SERVER_NAMESPACE: namespaces.server });
    }
    await inTowns();
  }
  await inWorld(hostWorld(), onHost);
  console.log(`in ${seconds(started)} s`);
  const { passed, failed, skipped } = counts;
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function chosen() {
  return scenarios.filter(({ name, full }) => (options.full || !full) && (!options.only || name.includes(options.only)));
}

function seconds(since) {
  return ((Date.now() - since) / 1000).toFixed(1);
}

// Towns are independent of each other: while one waits, others play.
async function inTowns() {
  const names = [...new Set(chosen().map(({ town }) => town).filter(Boolean))];
  const next = async () => {
    while (names.length > 0) {
      const name = names.shift();
      const town = new Town(name, name === "six" ? 6 : 4);
      await inNamespaces(town, { INTEROP_TOWN: JSON.stringify(town) });
    }
  };
  await Promise.all(Array.from({ length: TOWNS_AT_ONCE }, next));
}

// The same program once more, inside the browsers' namespace.
async function inNamespaces(namespaces, environment) {
  const signals = ["SIGINT", "SIGTERM"];
  let child;
  const forward = () => child?.kill("SIGTERM");
  for (const signal of signals) process.on(signal, forward);
  try {
    namespaces.create();
    child = spawn("ip", ["netns", "exec", namespaces.clients, process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, ...environment },
    });
    const results = new Promise((resolve) => child.once("message", resolve));
    const [code, signal] = await new Promise((resolve) => child.once("exit", (...how) => resolve(how)));
    if (code !== 0) throw new Error(`the run in the namespaces ended with ${signal ?? code}`);
    const inside = await within(1000, "the results", results);
    for (const key of Object.keys(counts)) counts[key] += inside[key];
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL ${error.message}`);
  } finally {
    namespaces.remove();
    for (const signal of signals) process.off(signal, forward);
  }
}

async function inWorld(world, list) {
  if (list.length === 0) return;
  const stage = new Stage(world);
  const stop = async () => {
    await stage.close();
    process.exit(1);
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, stop);
  try {
    await stage.open();
    console.log(`-- ${world.kind}: ${(await stage.versions()).join(", ")}, daemon on ${world.address}`);
    for (const scenario of list) await play(stage, scenario);
    if (stage.hasDaemons) await play(stage, { name: `afterwards nothing is left (${world.kind})`, run: nothingIsLeft });
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL no scenario could begin (${world.kind})\n${indent(error.stack ?? String(error))}`);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"]) process.off(signal, stop);
    await stage.close();
  }
}

async function play(stage, { name, needs, town, run, timeout = DEFAULT_TIMEOUT, ...settings }) {
  if ((needs === "veth" && stage.world.kind !== "veth") || (town && stage.world.kind !== town) || (settings.browsers?.includes("firefox") && !stage.world.hasInterface)) {
    counts.skipped += 1;
    console.log(`skip       ${name}`);
    return;
  }
  const started = Date.now();
  try {
    stage.begin(settings);
    try {
      await within(timeout, "the scenario", run(stage));
    } finally {
      await stage.world.restore?.();
    }
    await within(30_000, "leaving", stage.leave());
    counts.passed += 1;
    console.log(`ok   ${seconds(started).padStart(5)} ${name}`);
  } catch (error) {
    counts.failed += 1;
    console.log(`FAIL ${seconds(started).padStart(5)} ${name}\n${indent(error.stack ?? String(error))}`);
    const folder = await within(60_000, "collecting", stage.collect(name)).catch((late) => late.message);
    console.log(`     pictures and logs: ${folder}`);
  }
}

function indent(text) {
  return text.split("\n").map((line) => `     ${line}`).join("\n");
}

// Sessions are checked after every scenario; this is about what only shows at the end.
function nothingIsLeft(stage) {
  return stage.dismiss(leftovers);
}
