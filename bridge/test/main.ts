/** The bridge for tests of both languages: all of it is real but the socket to WhatsApp. FAKE_WHATSAPP: the test's port. */

import * as baileys from "baileys";

import { program } from "../src/program.js";
import { fake } from "./fake-baileys.js";

const quick = { firstMs: 20, longestMs: 200, healthyMs: 60_000, ackMs: 1_000 };
await program(fake(baileys, Number(process.env["FAKE_WHATSAPP"])), quick);
