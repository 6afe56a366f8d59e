import assert from "node:assert/strict";
import test from "node:test";
import { matrix, PARAMETERS } from "./matrix.mjs";
import { pairwise, product } from "./pairwise.mjs";

const has = (cells, wanted) => cells.some((cell) => Object.entries(wanted).every(([name, value]) => cell[name] === value));

test("a product has every combination that fits", () => {
  const cells = product({ a: [1, 2], b: ["x", "y", "z"] }, ({ a, b }) => a === 1 || b !== "z");
  assert.deepEqual(cells.map(({ a, b }) => `${a}${b}`), ["1x", "1y", "1z", "2x", "2y"]);
});

test("every pair of values meets in few cells", () => {
  const parameters = { a: [1, 2, 3, 4, 5], b: [1, 2, 3], c: [1, 2], d: [1, 2] };
  const chosen = pairwise(product(parameters));
  for (const [first, second] of product({ first: Object.keys(parameters), second: Object.keys(parameters) }).map(Object.values)) {
    if (first === second) continue;
    for (const one of parameters[first]) {
      for (const two of parameters[second]) assert.ok(has(chosen, { [first]: one, [second]: two }), `${first} ${one}, ${second} ${two}`);
    }
  }
  assert.ok(chosen.length <= 18, `${chosen.length} of 60 cells`);
});

test("pairs that fit nowhere are not waited for", () => {
  const chosen = pairwise(product({ a: [1, 2], b: [1, 2] }, ({ a, b }) => a !== b));
  assert.deepEqual(chosen, [{ a: 1, b: 2 }, { a: 2, b: 1 }]);
});

test("the short list of the matrix has every family with every version, and every pair that is possible", () => {
  const { cells, short } = matrix();
  for (const cell of cells) {
    for (const first of Object.keys(PARAMETERS)) {
      for (const second of Object.keys(PARAMETERS)) {
        assert.ok(has(short, { [first]: cell[first], [second]: cell[second] }), `${cell[first]}, ${cell[second]}`);
      }
    }
  }
  assert.deepEqual(short, matrix().short, "the same list every time");
});
