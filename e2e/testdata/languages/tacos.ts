// Calls tacoserver, and servers that are in trouble.
import * as tacos from "../../../generated/client.ts";
import { equal, failure } from "./roundtrip.ts";

/** Calls tacoserver at taco, and what is wrong in many ways below trouble. */
export async function callTacos(taco: string, trouble: string): Promise<void> {
	const seen: string[] = [];
	const client = new tacos.Client(taco, { headers: (service, method) => (seen.push(`${service}.${method}`), { "X-Test": "yes" }) });
	const service = new tacos.TacoService(client);
	equal((await service.eatTaco({ name: "Ana", tacos: ["Al pastor", "Carnitas"] })).tacoConsumptionStatus, "Ana has consumed 2 tacos");
	const refused = await failure(service.eatTaco({ name: "", tacos: ["Fish"] }));
	equal(
		[refused.service, refused.method, refused.status, refused.code, refused.message, refused.body, refused instanceof tacos.CallError, refused instanceof Error],
		["TacoService", "EatTaco", 400, "invalid_argument", "EatTacoRequest.Name is required", "", true, true],
	);
	equal(seen, ["TacoService.EatTaco", "TacoService.EatTaco"]);

	const at = (path: string, options?: tacos.ClientOptions) => new tacos.TacoService(new tacos.Client(`${trouble}/${path}`, options));
	const request: tacos.EatTacoRequest = { name: "Ana", tacos: [] };
	const html = `text/html: "<h1>Bad Gateway</h1>"`;
	for (const [path, status, code, message] of [
		["html502", 502, "", `TacoService.EatTaco: status 502, but no answer of the service: ${html}`],
		["html200", 200, "", `TacoService.EatTaco: status 200, but no answer of the service: ${html}`],
		["empty", 200, "", `TacoService.EatTaco: status 200, but no answer of the service: no Content-Type: ""`],
		["json404", 404, "", `TacoService.EatTaco: status 404, but no answer of the service: application/json: "{}"`],
		["error200", 200, "", "ate too much"],
		["error503", 503, "unavailable", "not now"],
	] as const) {
		const e = await failure(at(path).eatTaco(request));
		equal([path, e.status, e.code, e.message], [path, status, code, message]);
	}
	const redirected = await failure(at("redirect").eatTaco(request));
	equal(redirected.code, "");
	equal(/(a redirect|status 302), but no answer of the service/.test(redirected.message), true);
	const gone = await failure(at("cut").eatTaco(request));
	equal(gone.message.startsWith("TacoService.EatTaco: "), true);

	const headers = { "X-Hook": "of the client", "X-Both": "of the client" };
	const told = await at("headers", { headers }).eatTaco(request, { headers: { "X-Both": "of the call" } });
	equal(told.tacoConsumptionStatus, "of the client, of the call");

	// The server of slow answers when its client goes away, not before.
	const late = await failure(at("slow", { timeout: 50 }).eatTaco(request));
	equal([late.status, late.message], [0, "TacoService.EatTaco: no answer: no whole answer within 50 ms"]);
	const dripping = await failure(at("drip").eatTaco(request, { timeout: 300 }));
	equal([dripping.status, dripping.message], [200, "TacoService.EatTaco: read answer of status 200: no whole answer within 300 ms"]);
	const abort = new AbortController();
	const call = failure(at("slow").eatTaco(request, { signal: abort.signal }));
	abort.abort();
	const aborted = await call;
	equal([aborted.status, (aborted.cause as Error).name], [0, "AbortError"]);
	equal((await failure(at("slow").eatTaco(request, { signal: abort.signal }))).cause, abort.signal.reason);
}
