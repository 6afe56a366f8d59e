// The pages that tests open: one per published client version, bundled once and served on localhost,
// which browsers take for a secure context without a certificate.

import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build, stop } from "esbuild";

export const NEWEST = "2.32.2";
export const VERSIONS = ["2.20.0", "2.22.0", "2.24.0", "2.27.0", NEWEST];

const FOLDER = fileURLToPath(new URL(".", import.meta.url));

async function bundle(version) {
  const { outputFiles } = await build({
    absWorkingDir: FOLDER,
    entryPoints: ["page/party.js"],
    bundle: true,
    write: false,
    format: "iife",
    logLevel: "error",
    alias: { "openvidu-browser": `openvidu-browser-${version}` },
  });
  return outputFiles[0].text;
}

export async function servePages() {
  const scripts = new Map();
  await Promise.all(VERSIONS.map(async (version) => scripts.set(version, await bundle(version))));
  await stop();
  const server = createServer((request, response) => {
    const [, version, file] = request.url.split("/");
    const script = scripts.get(version);
    if (script && file === "party.js") {
      response.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(script);
    } else if (script && file === "") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" })
        .end(`<!doctype html><title>${version}</title><body><script src="party.js"></script>`);
    } else if (version === "favicon.ico") {
      response.writeHead(204).end();
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  return {
    address: (version) => `http://localhost:${port}/${version}/`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
