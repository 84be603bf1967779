// Node's fetch: node fetch.mjs URL TOKEN PHOTO; prints the masks that it got, in base64, as JSON.
import { readFileSync } from "node:fs";

const [url, token, path] = process.argv.slice(2);
const photo = readFileSync(path);
const address = `${url}/predictions/segmenter`;
const authorization = { Authorization: `Bearer ${token}` };

const send = async (target, options) => {
  const response = await fetch(target, {
    method: "POST",
    ...options,
    headers: { ...authorization, ...options.headers },
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return Buffer.from(await response.arrayBuffer()).toString("base64");
};

const form = new FormData();
form.append("image", new Blob([photo]), "photo.png");
form.append("output", "mask");
const json = { "Content-Type": "application/json" };
const dataUrl = `data:image/png;base64,${photo.toString("base64")}`;

const found = {
  buffer: await send(address, { body: photo }),
  blob: await send(address, { body: new Blob([photo], { type: "image/png" }) }),
  form: await send(address, { body: form }),
  query: await send(`${address}?${new URLSearchParams({ output: "mask" })}`, { body: photo }),
  "data URL": await send(address, {
    body: JSON.stringify({ image: dataUrl, output: "mask" }), headers: json,
  }),
  "Buffer as JSON": await send(address, {
    body: JSON.stringify({ image: photo, output: "mask" }), headers: json,
  }),
};
console.log(JSON.stringify(found));
