// A certificate authority of our own, which tests make browsers and machines trust.

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

export class Authority {
  static async make() {
    const authority = new Authority();
    authority.folder = await mkdtemp(join(tmpdir(), "hanok-authority-"));
    authority.certificate = join(authority.folder, "authority.pem");
    authority.key = join(authority.folder, "authority.key");
    await run("openssl", ["req", "-x509", ...KEY, "-days", "2", "-subj", "/CN=hanok interop authority",
      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
      "-keyout", authority.key, "-out", authority.certificate]);
    return authority;
  }

  /** A certificate for this name or address; returns the paths of its files. */
  async issue(name) {
    const at = (ending) => join(this.folder, `${name}.${ending}`);
    const alternative = `subjectAltName=${isIP(name) ? "IP" : "DNS"}:${name}`;
    await writeFile(at("ext"), `basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n${alternative}\n`);
    await run("openssl", ["req", "-new", ...KEY, "-subj", `/CN=${name}`, "-keyout", at("key"), "-out", at("csr")]);
    await run("openssl", ["x509", "-req", "-in", at("csr"), "-CA", this.certificate, "-CAkey", this.key, "-CAcreateserial",
      "-days", "2", "-extfile", at("ext"), "-out", at("pem")]);
    return { certificate: at("pem"), key: at("key") };
  }

  /** Makes the NSS data base in `folder` trust it, which both browsers read. */
  async trustIn(folder) {
    await mkdir(folder, { recursive: true });
    const base = `sql:${folder}`;
    await run("certutil", ["-N", "-d", base, "--empty-password"]).catch((error) => {
      if (!/already|exists/i.test(error.stderr)) throw error;
    });
    await run("certutil", ["-A", "-d", base, "-n", "hanok interop authority", "-t", "C,,", "-i", this.certificate]);
  }

  remove() {
    return rm(this.folder, { recursive: true, force: true });
  }
}
