// Data of a page, from the text that `rwcore.pages.packed_json` made. One global, `rwUnpack`.
//
//   rwUnpack(text)   promises them; fails where the text is broken, or the browser cannot decompress
const rwUnpack = async (text) => {
  "use strict";

  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old to decompress them.");
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length); // by a loop: a function for each of a million bytes is slow
  for (let place = 0; place < packed.length; place += 1) bytes[place] = packed.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
};
