// Debian's nginx on the daemon's host, with the file that an operator wrote who has had it in front of OpenVidu for years:
// `/` is the application, `/openvidu` is handed on with what a WebSocket needs, `/dashboard` without.

import { execFile, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "./expect.mjs";

const run = promisify(execFile);

// As it stands in sites-enabled, with certbot's lines. Nothing of it may have to change.
const site = ({ name, application, certificate, key, errors }) => `
server {
  server_name ${name};

  location / {
    proxy_pass http://localhost:${application};
  }
  location /openvidu {
    proxy_pass http://127.0.0.1:5443;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
  }
  location /dashboard {
    proxy_pass http://127.0.0.1:5443/dashboard;
  }

  error_page 404 /404.html;
  location = /404.html { root ${errors}; }
  error_page 500 502 503 504 /50x.html;
  location = /50x.html { root ${errors}; }

  listen 443 ssl;
  ssl_certificate ${certificate};
  ssl_certificate_key ${key};
}
server {
  if ($host = ${name}) {
    return 301 https://$host$request_uri;
  }
  listen 80;
  server_name ${name};
  return 404;
}
`;

export class Nginx {
  #process;
  #log;

  /** @param options name: the domain; application: the port of what is on `/`; certificate, key: their files */
  static async start(world, options) {
    const nginx = new Nginx();
    const folder = await mkdtemp(join(tmpdir(), "hanok-nginx-"));
    nginx.folder = folder;
    nginx.#log = join(folder, "log");
    await mkdir(join(folder, "errors"));
    for (const page of ["404", "50x"]) await writeFile(join(folder, "errors", `${page}.html`), `the operator's ${page}\n`);
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
    // One process, so that one signal ends all of it.
    await writeFile(join(folder, "nginx.conf"), `
      daemon off; master_process off; user root; pid ${folder}/pid; error_log stderr notice;
      events { }
      http { access_log ${folder}/access; ${temporary.join(" ")} ${site({ ...options, errors: join(folder, "errors") })} }`);
    const log = openSync(nginx.#log, "a");
    const [command, ...rest] = [...world.prefix, "/usr/sbin/nginx", "-p", folder, "-c", "nginx.conf"];
    nginx.#process = spawn(command, rest, { stdio: ["ignore", log, log] });
    closeSync(log);
    try {
      await until("nginx listens", async () => {
        const { stdout } = await run(world.prefix[0], [...world.prefix.slice(1), "ss", "-Hltn", "sport = :443"]);
        return stdout !== "";
      }, { unless: () => (nginx.#process.exitCode === null ? null : `nginx ended:\n${nginx.log()}`) });
    } catch (error) {
      await nginx.remove();
      throw error;
    }
    return nginx;
  }

  log() {
    return readFileSync(this.#log, "utf8");
  }

  async remove() {
    this.#process.kill("SIGKILL");
    await rm(this.folder, { recursive: true, force: true });
  }
}
