/**
 * Every text of the page, by area. Another language is another object of the same shape: texts are
 * strings, or functions of what they name.
 */

import { en } from "./en";

export type Words = typeof en;

/** The words of the reader's language; English so far. */
export const words: Words = en;
