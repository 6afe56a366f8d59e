// Every scenario, in the order in which each lane plays them. A scenario has a name, a function that gets a scene, and:
//   offer: who offers when somebody subscribes (HANOK_SUBSCRIBE_OFFER)   browsers: which it uses
//   needs: "veth" or "host", where only one world will do                full: only in the long lane
//   lane: see run.mjs; "calls" if it says nothing                        timeout: ms for all of it
//   town: the one in which it plays (town.mjs), in place of a lane       environment: of the daemon, from the world
//   grace: seconds for those whose socket broke                          transport: "tcp" where UDP is blocked
//   small: everybody publishes small pictures, so that many calls fit side by side

import { cells } from "../matrix.mjs";
import { bandwidth } from "./bandwidth.mjs";
import { calls } from "./calls.mjs";
import { changes } from "./changes.mjs";
import { damaged } from "./damaged.mjs";
import { application } from "./front-application.mjs";
import { hostile } from "./front-hostile.mjs";
import { behindNginx } from "./front-nginx.mjs";
import { only443 } from "./front-only-443.mjs";
import { network } from "./network.mjs";
import { cuts } from "./network-cuts.mjs";
import { losses } from "./network-loss.mjs";
import { paths } from "./network-paths.mjs";
import { page } from "./page.mjs";
import { quality } from "./quality.mjs";
import { replacing } from "./replacing.mjs";
import { rest } from "./rest.mjs";
import { signals } from "./signals.mjs";
import { shutdown } from "./shutdown.mjs";
import { tokens } from "./tokens.mjs";

// They watch for half a minute each.
const rates = bandwidth.map((scenario) => ({ ...scenario, lane: "rates" }));

export const scenarios = [...calls, ...changes, ...replacing, ...signals, ...tokens, ...damaged, ...rest, ...quality, ...rates, ...network, ...paths, ...cuts, ...losses, ...page, ...application, ...behindNginx, ...only443, ...hostile, ...shutdown, ...cells];
