// The TypeScript clients in a browser: the page is of the test's server, below
// which tacoserver is, too.
import { roundTrip, written } from "./roundtrip.ts";
import { callTacos } from "./tacos.ts";

async function run(): Promise<string> {
	await callTacos("/oto/", "/trouble");
	await written("");
	return String(await roundTrip(""));
}

run().catch((e: unknown) => `${e}`).then((said) => {
	document.title = said;
});
