// node openapi.mjs DOCUMENT VALUES: is the document OpenAPI, do its examples fit its
// schemas, and do values? VALUES is a file with one a line: {"schema": a pointer
// into the document, "json": the value, "what": what it is}; with "open" an enum
// takes any value, with "unfit" the value mustn't fit.
import { readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [file, values] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
const document = JSON.parse(text);
const wrong = [];
let checked = 0;

// This validator takes a property called $ref for a reference, which ours begin with #.
const result = await new Validator().validate(JSON.parse(text.replaceAll(/"\$ref": (?!"#)/g, '"ref": ')));
if (!result.valid) wrong.push(`no OpenAPI: ${JSON.stringify(result.errors)}`);

/** Returns what validates values by a pointer into the document; if it is open, enums take any. */
function validator(open) {
	const ajv = new Ajv2020({ strict: false, allErrors: true, logger: false });
	addFormats.default(ajv);
	const strip = (_, value) => (open && value !== null && typeof value === "object" && "x-enum-varnames" in value ? { ...value, enum: undefined } : value);
	ajv.addSchema(JSON.parse(JSON.stringify(document, strip)), "document");
	return (pointer, value) => {
		const validate = ajv.getSchema(`document#${pointer}`);
		return validate(value) ? "" : ajv.errorsText(validate.errors);
	};
}

const strictly = validator(false);
const openly = validator(true);

function check(pointer, value, what, { open = false, unfit = false } = {}) {
	const error = (open ? openly : strictly)(pointer, value);
	if ((error !== "") !== unfit) wrong.push(`${what}: ${JSON.stringify(value)}: ${error || "it fits"}`);
	checked++;
}

/** A pointer to what is below keys. */
const pointer = (...keys) => keys.map((key) => `/${encodeURIComponent(String(key).replaceAll("~", "~0").replaceAll("/", "~1"))}`).join("");

for (const [name, schema] of Object.entries(document.components.schemas)) {
	for (const [property, { examples = [] }] of Object.entries(schema.properties ?? {})) {
		for (const example of examples) check(pointer("components", "schemas", name, "properties", property), example, `example of ${name}.${property}`);
	}
}
function checkMedia(where, { content }, what) {
	for (const [type, { example, examples = {} }] of Object.entries(content)) {
		const all = [...(example === undefined ? [] : [example]), ...Object.values(examples).map(({ value }) => value)];
		for (const value of all) check(where + pointer("content", type, "schema"), value, what);
	}
}
for (const [path, { post }] of Object.entries(document.paths)) {
	checkMedia(pointer("paths", path, "post", "requestBody"), post.requestBody, `request of ${path}`);
	checkMedia(pointer("paths", path, "post", "responses", 200), post.responses[200], `answer of ${path}`);
}
for (const [status, response] of Object.entries(document.components.responses)) {
	checkMedia(pointer("components", "responses", status), response, `error ${status}`);
}
for (const line of readFileSync(values, "utf8").trim().split("\n")) {
	const { schema, json, what, ...how } = JSON.parse(line);
	check(schema, JSON.parse(json), what, how);
}

if (wrong.length > 0) throw new Error(wrong.slice(0, 20).join("\n"));
console.log(checked);
