// axios: node axios.mjs URL TOKEN PHOTO, beside its node_modules; prints the masks, in base64, as JSON.
import { readFileSync } from "node:fs";
import axios from "axios";

const [url, token, path] = process.argv.slice(2);
const photo = readFileSync(path);
const address = `${url}/predictions/segmenter`;
const options = (more = {}) => ({
  ...more,
  responseType: "arraybuffer",
  headers: { Authorization: `Bearer ${token}`, ...more.headers },
});
const base64 = (response) => Buffer.from(response.data).toString("base64");
const accept = { Accept: "image/png" };

const form = new FormData();
form.append("image", new Blob([photo]), "photo.png");

const found = {
  // It declares a form, as curl --data-binary does.
  buffer: base64(await axios.post(address, photo, options({ headers: accept }))),
  params: base64(await axios.post(address, photo, options({ params: { output: "mask" } }))),
  form: base64(await axios.post(address, form, options({ headers: accept }))),
  json: base64(
    await axios.post(address, { image: photo.toString("base64"), output: "mask" }, options()),
  ),
  octets: base64(
    await axios.post(address, photo, options({ headers: { Accept: "application/octet-stream" } })),
  ),
};
const refused = await axios
  .post(address, photo, options({ params: { treshold: 0.5 } }))
  .catch((error) => error.response);
found.refused = JSON.parse(Buffer.from(refused.data)).error.message;
console.log(JSON.stringify(found));
