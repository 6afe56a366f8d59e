// Checks bills of materials: by CycloneDX's own schema, and against the lock files that they were made from.
//   node bill.mjs BILL …
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { strict as assert } from "node:assert";
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import parseExpression from "spdx-expression-parse";

const root = new URL("../../", import.meta.url);
const lock = readFileSync(new URL("Cargo.lock", root), "utf8");
const isLocked = (name, version) => lock.includes(`name = "${name}"\nversion = "${version}"\n`);

for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, "utf8");
  const faults = await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(text);
  assert.equal(faults, null, `${file}: ${JSON.stringify(faults, null, 1)}`);
  const bill = JSON.parse(text);
  const refs = new Set([bill.metadata.component["bom-ref"], ...bill.components.map((it) => it["bom-ref"])]);
  assert.equal(refs.size, bill.components.length + 1, "every reference stands for one component");

  // Reachable from us, and nothing but what is listed.
  const uses = new Map(bill.dependencies.map((it) => [it.ref, it.dependsOn]));
  const reached = new Set();
  const visit = (ref) => {
    if (reached.has(ref)) return;
    assert(refs.has(ref) && uses.has(ref), `${ref} is used but not listed`);
    reached.add(ref);
    uses.get(ref).forEach(visit);
  };
  visit(bill.metadata.component["bom-ref"]);
  assert.deepEqual([...refs].filter((ref) => !reached.has(ref)), [], "listed, but nobody uses it");

  for (const it of bill.components) {
    const { expression, license } = it.licenses[0];
    assert(expression ?? license?.id, `${it.name} has no licence that can be named`);
    parseExpression(expression ?? license.id);
    if (it.purl?.startsWith("pkg:cargo/")) {
      assert(isLocked(it.name, it.version), `${it.purl} is not in Cargo.lock`);
      assert.match(it.hashes[0].content, /^[0-9a-f]{64}$/);
    }
  }

  // What the daemon is linked with is there, what only tests use is not.
  const named = (name) => bill.components.find((it) => it.name === name);
  for (const name of ["rustls", "tokio", "aws-lc-sys", "openvidu-browser", "rust-std"]) {
    assert.equal(named(name)?.scope, "required", name);
  }
  assert.equal(named("serde_derive")?.scope, "excluded", "what runs at compile time is not in the binary");
  for (const name of ["proptest", "tempfile", "vite"]) assert.equal(named(name), undefined, name);
  const target = bill.metadata.properties[0].value;
  const tree = execFileSync("cargo", ["tree", "--locked", "--target", target, "--edges", "normal,build", "--prefix", "none"], {
    cwd: root,
    encoding: "utf8",
  });
  const expected = new Set([...tree.matchAll(/^(\S+) v(\S+)/gm)].map((it) => `${it[1]}@${it[2]}`));
  expected.delete(bill.metadata.component["bom-ref"]);
  const listed = bill.components.filter((it) => it.purl?.startsWith("pkg:cargo/")).map((it) => it["bom-ref"]);
  assert.deepEqual(listed, [...expected].sort((a, b) => (a < b ? -1 : 1)), "the crates are those of the build");
  console.log(`${file.split("/").at(-1)}: ${bill.components.length} components`);
}
