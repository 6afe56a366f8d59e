// The application of the operator (application/server.mjs), on the daemon's host.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { within } from "./expect.mjs";

const SERVER = fileURLToPath(new URL("application/server.mjs", import.meta.url));

export class Application {
  #process;

  /** port: 0 takes any that is free */
  static async start(world, port = 0) {
    const application = new Application();
    const [command, ...rest] = [...world.prefix, process.execPath, SERVER, `${port}`];
    application.#process = spawn(command, rest, { stdio: ["ignore", "pipe", "inherit"] });
    const lines = createInterface({ input: application.#process.stdout })[Symbol.asyncIterator]();
    try {
      const { value } = await within(20_000, "the application's start", lines.next());
      if (!value) throw new Error("the application ended while starting");
      application.port = Number(value);
      application.url = `http://127.0.0.1:${value}`;
    } catch (error) {
      application.kill();
      throw error;
    }
    return application;
  }

  kill() {
    this.#process.kill("SIGKILL");
  }

  remove() {
    this.kill();
  }
}
