// The short list of a matrix: few cells in which every pair of values still meets.

/** Every combination of the values of `parameters` ({name: [value, …]}) that `fits`. */
export function product(parameters, fits = () => true) {
  const cells = Object.entries(parameters).reduce(
    (rows, [name, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value }))),
    [{}],
  );
  return cells.filter(fits);
}

function pairsOf(cell) {
  const values = Object.entries(cell).map(([name, value]) => `${name}=${value}`);
  return values.flatMap((first, index) => values.slice(index + 1).map((second) => `${first} ${second}`));
}

/**
 * Chooses from `cells` until every pair of values that occurs in any of them occurs in a chosen one. Takes the cell
 * with the most new pairs each time, and of several the one whose pairs were seen least; the first, if that is no
 * answer either: the same list every time.
 */
export function pairwise(cells) {
  const pairs = new Map(cells.map((cell) => [cell, pairsOf(cell)]));
  const seen = new Map([...pairs.values()].flat().map((pair) => [pair, 0]));
  const chosen = [];
  while ([...seen.values()].includes(0)) {
    let best = { gain: 0, staleness: 0 };
    for (const [cell, own] of pairs) {
      const gain = own.filter((pair) => seen.get(pair) === 0).length;
      const staleness = own.reduce((sum, pair) => sum + seen.get(pair), 0);
      if (gain > best.gain || (gain === best.gain && staleness < best.staleness)) best = { cell, gain, staleness };
    }
    chosen.push(best.cell);
    for (const pair of pairs.get(best.cell)) seen.set(pair, seen.get(pair) + 1);
    pairs.delete(best.cell);
  }
  return chosen;
}
