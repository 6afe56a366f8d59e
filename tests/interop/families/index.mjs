// What the matrix plays with every client version. A family has a name, a function that gets a scene and a cell, and:
//   fits: which cells are possible        lane: see run.mjs      timeout: ms for the whole scenario
//   needs: "veth" where packet rules are  long: only in the long lane
//   grace: seconds for a broken socket (HANOK_RECONNECT_GRACE)

import { calling } from "./calling.mjs";
import { kinds } from "./kinds.mjs";
import { lost } from "./lost.mjs";
import { moderating } from "./moderating.mjs";
import { muting } from "./muting.mjs";
import { sockets } from "./sockets.mjs";
import { standing } from "./standing.mjs";

export const families = [...calling, ...muting, ...kinds, ...moderating, ...sockets, ...standing, ...lost];
