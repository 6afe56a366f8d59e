// Waiting for something to become true, and saying what was there instead.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

export { assert, sleep };

/**
 * Asks `probe` until it returns something truthy and returns that. `probe` may throw: its last error or
 * value is part of the message when time is up. `unless` may give a reason to stop waiting.
 */
export async function until(what, probe, { within = 10_000, every = 100, unless = () => null } = {}) {
  const deadline = Date.now() + within;
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    const reason = unless();
    if (reason) throw new Error(reason);
    if (Date.now() > deadline) {
      const found = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`not within ${within / 1000} s: ${what} (last: ${found})`);
    }
    await sleep(every);
  }
}

/** Fails when `action` does not end within its time; it goes on unobserved. */
export async function within(ms, what, action) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([action, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Lets at most `permits` actions run at the same time; the others wait in line. */
export class Turnstile {
  #free;
  #line = [];

  constructor(permits) {
    this.#free = permits;
  }

  async pass(action) {
    if (this.#free === 0) await new Promise((resolve) => this.#line.push(resolve));
    else this.#free -= 1;
    try {
      return await action();
    } finally {
      const next = this.#line.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
