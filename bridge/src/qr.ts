/** Draws what comes on standard input as a QR code for a terminal. */

import { readFileSync } from "node:fs";

import { renderUnicodeCompact } from "uqr";

process.stdout.write(`${renderUnicodeCompact(readFileSync(0, "utf8").trim(), { border: 2 })}\n`);
