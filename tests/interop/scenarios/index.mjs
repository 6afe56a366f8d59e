// Every scenario, in the order in which they run. A scenario has a name, a function that gets the stage, and:
//   offer: who offers when somebody subscribes (HANOK_SUBSCRIBE_OFFER)   browsers: which it uses
//   needs: "veth" or "host", where only one world will do                full: only in the long lane
//   town: the town in which it plays (town.mjs); scenarios of one town run one after the other, towns side by side

import { bandwidth } from "./bandwidth.mjs";
import { calls } from "./calls.mjs";
import { changes } from "./changes.mjs";
import { damaged } from "./damaged.mjs";
import { network } from "./network.mjs";
import { cuts } from "./network-cuts.mjs";
import { paths } from "./network-paths.mjs";
import { page } from "./page.mjs";
import { quality } from "./quality.mjs";
import { rest } from "./rest.mjs";
import { signals } from "./signals.mjs";
import { shutdown } from "./shutdown.mjs";
import { tokens } from "./tokens.mjs";

export const scenarios = [...calls, ...changes, ...signals, ...tokens, ...damaged, ...rest, ...quality, ...bandwidth, ...network, ...paths, ...cuts, ...page, ...shutdown];
