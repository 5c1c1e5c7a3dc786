/** The samples that both sides read. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { BadFrame, MOST_FRAME, readFrame, VERSION } from "../src/frames.js";

interface Samples {
  version: number;
  longest: number;
  client: Record<string, object>;
  "bad from clients": Record<string, string>;
}

const samples = JSON.parse(readFileSync(new URL("../../frames.json", import.meta.url), "utf8")) as Samples;

test("the samples are of this version", () => assert.equal(samples.version, VERSION));

test("the longest frame is the same on both sides", () => assert.equal(samples.longest, MOST_FRAME));

for (const [name, frame] of Object.entries(samples.client))
  test(`a client's frame is read whole: ${name}`, () => assert.deepEqual(readFrame(JSON.stringify(frame)), frame));

for (const [name, data] of Object.entries(samples["bad from clients"]))
  test(`a bad frame is refused: ${name}`, () => assert.throws(() => readFrame(data), BadFrame));
