// Markup for the modules: Preact through htm. Values become text nodes and attributes, never markup.
import { h } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
