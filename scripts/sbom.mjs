// What is in a package: a software bill of materials (CycloneDX 1.6, JSON) and the licences of everything foreign.
//   node scripts/sbom.mjs TARGET BILL LICENCES
// TARGET is the compiler's name of the platform; BILL and LICENCES are the files to write. The same sources give the same
// bytes: the time is SOURCE_DATE_EPOCH.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const [target, billFile, licencesFile] = process.argv.slice(2);
if (!licencesFile) throw new Error("usage: sbom.mjs TARGET BILL LICENCES");
const PAGE = "src/front/dashboard/call";

const cargo = (...args) => execFileSync("cargo", args, { encoding: "utf8", maxBuffer: 1 << 28 });
const byText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

// A line of `cargo tree --prefix depth` is the depth, the name and the version; what was shown before ends in (*).
// `cargo metadata` would count what only tests switch on.
function tree(edges) {
  const lines = cargo("tree", "--locked", "--target", target, "--edges", edges, "--prefix", "depth").split("\n");
  const uses = new Map();
  const path = [];
  for (const line of lines) {
    const found = /^(\d+)(\S+) v(\S+)/.exec(line);
    if (!found) continue;
    const [, depth, name, version] = found;
    const key = `${name}@${version}`;
    path.length = Number(depth);
    if (path.length > 0) uses.get(path.at(-1)).add(key);
    path.push(key);
    if (!uses.has(key)) uses.set(key, new Set());
  }
  return uses;
}

function crates() {
  const linked = tree("normal,no-proc-macro");
  const metadata = JSON.parse(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", target));
  const known = new Map(metadata.packages.map((it) => [`${it.name}@${it.version}`, it]));
  const sums = checksums();
  const all = [...tree("normal,build")].map(([key, uses]) => {
    const about = known.get(key);
    const isOurs = about.source === null;
    return {
      key,
      isOurs,
      folder: dirname(about.manifest_path),
      uses,
      component: {
        type: isOurs ? "application" : "library",
        "bom-ref": key,
        name: about.name,
        version: about.version,
        ...(about.description && { description: about.description.replace(/\s+/g, " ").trim() }),
        // What runs while the others are compiled is in no file that is installed.
        scope: linked.has(key) ? "required" : "excluded",
        ...(sums.has(key) && { hashes: [{ alg: "SHA-256", content: sums.get(key) }] }),
        licenses: licence(about.license),
        purl: `pkg:cargo/${about.name}@${about.version}`,
      },
    };
  });
  return all.sort((a, b) => byText(a.key, b.key));
}

function checksums() {
  const sums = new Map();
  for (const entry of readFileSync("Cargo.lock", "utf8").split("[[package]]")) {
    const value = (key) => new RegExp(`^${key} = "(.*)"$`, "m").exec(entry)?.[1];
    if (value("checksum")) sums.set(`${value("name")}@${value("version")}`, value("checksum"));
  }
  return sums;
}

// What the embedded page is made of: its own dependencies, without the tools that build it.
function modules() {
  const { packages } = JSON.parse(readFileSync(join(PAGE, "package-lock.json"), "utf8"));
  const all = [];
  for (const [path, entry] of Object.entries(packages)) {
    if (path === "" || entry.dev) continue;
    const folder = join(PAGE, path);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    // One module of old names none, but has the text of the MIT licence.
    const isMit = () => texts(folder).some((text) => text.includes("Permission is hereby granted, free of charge"));
    const declared = about.license ?? (isMit() ? "MIT" : undefined);
    all.push({
      key: `${about.name}@${about.version}`,
      folder,
      uses: new Set(
        Object.keys(entry.dependencies ?? {}).map((name) => {
          const inner = packages[`${path}/node_modules/${name}`] ?? packages[`node_modules/${name}`];
          return `npm:${name}@${inner.version}`;
        }),
      ),
      component: {
        type: "library",
        "bom-ref": `npm:${about.name}@${about.version}`,
        name: about.name,
        version: about.version,
        scope: "required",
        licenses: licence(declared),
        purl: `pkg:npm/${about.name.replace("@", "%40")}@${about.version}`,
      },
    });
  }
  return all.sort((a, b) => byText(a.key, b.key));
}

// What the compiler links in beside the crates.
function toolchain() {
  const folder = cargo("--version") && execFileSync("rustc", ["--print", "sysroot"], { encoding: "utf8" }).trim();
  const version = /^release: (.*)$/m.exec(execFileSync("rustc", ["-vV"], { encoding: "utf8" }))[1];
  const standard = {
    key: `rust-std@${version}`,
    folder: join(folder, "share/doc/rust"),
    uses: new Set(),
    component: {
      type: "library",
      "bom-ref": `rust-std@${version}`,
      name: "rust-std",
      version,
      scope: "required",
      licenses: licence("MIT OR Apache-2.0"),
    },
  };
  if (!target.endsWith("-musl")) return [standard];
  const musl = { type: "library", "bom-ref": "musl", name: "musl", scope: "required", licenses: licence("MIT") };
  return [standard, { key: "musl", folder: null, uses: new Set(), component: musl }];
}

// An SPDX expression, with the old slash between alternatives put right.
function licence(declared) {
  if (!declared) return [{ license: { name: "see its own files" } }];
  const expression = declared.replaceAll("/", " OR ");
  return /\s/.test(expression) ? [{ expression }] : [{ license: { id: expression } }];
}

const shown = (licenses) => licenses[0].expression ?? licenses[0].license.id ?? licenses[0].license.name;

// Files of a folder that tell a licence; a library in C brings its own in a folder beneath.
function texts(folder) {
  if (!folder || !existsSync(folder)) return [];
  const isLicence = (name) => /^(licen[cs]e|copying|copyright|notice|unlicense)(?!.*\.html$)/i.test(name);
  const here = readdirSync(folder, { withFileTypes: true });
  const found = here.filter((it) => it.isFile() && isLicence(it.name)).map((it) => join(folder, it.name));
  for (const inner of here.filter((it) => it.isDirectory() && it.name !== "node_modules")) {
    const files = readdirSync(join(folder, inner.name), { withFileTypes: true });
    found.push(...files.filter((it) => it.isFile() && isLicence(it.name)).map((it) => join(folder, inner.name, it.name)));
  }
  return found.sort(byText).map((file) => readFileSync(file, "utf8").replaceAll("\r\n", "\n").trim());
}

const all = crates();
const ours = all.find((it) => it.isOurs);
const page = modules();
const foreign = [...all.filter((it) => !it.isOurs), ...page, ...toolchain()];

// The page's modules and the compiler's libraries are ours to depend on, as far as no other of them does.
const usedByOthers = new Set(page.flatMap((it) => [...it.uses]));
for (const it of foreign) {
  const ref = it.component["bom-ref"];
  if (!it.component.purl?.startsWith("pkg:cargo/") && !usedByOthers.has(ref)) ours.uses.add(ref);
}

const bill = {
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  metadata: {
    timestamp: new Date(Number(process.env.SOURCE_DATE_EPOCH ?? 0) * 1000).toISOString(),
    component: { ...ours.component, scope: undefined },
    properties: [{ name: "target", value: target }],
  },
  components: foreign.map((it) => it.component),
  dependencies: [ours, ...foreign].map((it) => ({
    ref: it.component["bom-ref"],
    dependsOn: [...it.uses].filter((used) => used !== ours.key).sort(byText),
  })),
};
const digest = createHash("sha256").update(JSON.stringify(bill)).digest("hex");
const groups = /^(.{8})(.{4}).(.{3}).(.{3})(.{12})/.exec(digest);
// A name made of the content (RFC 9562 section 5.8).
bill.serialNumber = `urn:uuid:${groups[1]}-${groups[2]}-8${groups[3]}-8${groups[4]}-${groups[5]}`;
writeFileSync(billFile, `${JSON.stringify(bill, null, 1)}\n`);

const installed = foreign.filter((it) => it.component.scope === "required");
const byContent = new Map();
for (const it of installed) {
  for (const text of texts(it.folder)) {
    const content = text.replace(/\s+/g, " ");
    if (!byContent.has(content)) byContent.set(content, { text, of: [] });
    byContent.get(content).of.push(it.key);
  }
}
const rule = "=".repeat(78);
const list = installed.map((it) => `${it.key}: ${shown(it.component.licenses)}`).join("\n");
const sections = [...byContent.values()].map((it) => `${rule}\n${[...new Set(it.of)].join("\n")}\n${rule}\n\n${it.text}\n`);
writeFileSync(
  licencesFile,
  `hanok contains software of others, under the licences named here. Their texts follow, as far as they come with it.\n\n${list}\n\n${sections.join("\n")}`,
);
