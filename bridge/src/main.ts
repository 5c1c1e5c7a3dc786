/** The bridge. */

import * as baileys from "baileys";

import { program } from "./program.js";

await program(baileys);
