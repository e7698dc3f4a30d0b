// Sends the edges of every type through the client of the torture definition.
import * as torture from "../../../oto/testdata/torture/client.ts";

interface Case {
	service: string;
	method: string;
	json: string;
}

type Call = (request: unknown) => Promise<unknown>;

const services: { [name: string]: new (client: torture.Client) => object } = {
	Torture: torture.Torture,
	Signatures: torture.Signatures,
	Elsewhere: torture.Elsewhere,
	Client: torture.DefsClient,
};

/** Returns the methods of all services, as client has them, by what they call. */
async function methods(client: torture.Client): Promise<Map<string, Call>> {
	let called = "";
	const spy = new torture.Client("", {
		fetch: (url) => {
			called = String(url);
			return Promise.reject(new Error("only a look"));
		},
	});
	const all = new Map<string, Call>();
	for (const service of Object.values(services)) {
		for (const name of Object.getOwnPropertyNames(service.prototype)) {
			if (name === "constructor") continue;
			const call = (of: torture.Client): Call => (request) => (new service(of) as { [name: string]: Call })[name]!(request);
			await call(spy)(undefined).catch(() => undefined);
			all.set(called, call(client));
		}
	}
	return all;
}

/** Says whether two values are the same, in type too. */
export function same(a: unknown, b: unknown): boolean {
	if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
	const keys = Object.keys(a);
	return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(Reflect.get(a, key), Reflect.get(b, key)));
}

/** Shows a value, with bigints and own __proto__. */
function show(value: unknown): string {
	return JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? `${v}n` : v));
}

export function equal(got: unknown, want: unknown): void {
	if (!same(got, want)) throw new Error(`got ${show(got)}, want ${show(want)}`);
}

/**
 * Reads each case as an answer below base/answer/ and sends it to base/echo/,
 * whose server holds it against the case. Returns how many there were.
 */
export async function roundTrip(base: string): Promise<number> {
	const lines = (await (await fetch(`${base}/cases`)).text()).trim().split("\n");
	let index = 0;
	const headers = () => Promise.resolve({ "X-Case": String(index) });
	const answers = await methods(new torture.Client(`${base}/answer/`, { headers, timeout: 60_000 }));
	const echoes = await methods(new torture.Client(`${base}/echo/`, { headers, timeout: 60_000 }));
	for (; index < lines.length; index++) {
		const { service, method, json } = JSON.parse(lines[index]!) as Case;
		const name = `/${service}.${method}`;
		const value = await answers.get(name)!(undefined);
		const back = await echoes.get(name)!(value);
		if (!same(back, value)) throw new Error(`${name}: ${json} was read as ${show(value)} and came back as ${show(back)}`);
	}
	return lines.length;
}

/** Sends values that are written down here: the compiler has to take them, too. */
export async function written(base: string): Promise<void> {
	const client = new torture.Client(`${base}/torture/`);
	const service = new torture.Torture(client);
	const numbers: torture.Numbers = {
		bool: true,
		int: 2 ** 53 - 1,
		int8: -128,
		int16: 32767,
		int32: -2147483648,
		int64: 9007199254740993n,
		uint: 0,
		uint8: 255,
		uint16: 65535,
		uint32: 4294967295,
		uint64: 18446744073709551615n,
		byte: 0,
		rune: 0x1f600,
		uintptr: 5n,
		float32: 0.5,
		float64: 1e300,
		exact: "123456789012345678901234567890.12",
		score: -0.25,
	};
	equal(await service.numbers(numbers), { ...numbers, uintptr: 5 });
	equal(numbers.int64, BigInt("9007199254740993"));

	const enums: torture.Enums = {
		colour: "red",
		level: torture.Level.High,
		size: torture.Size.Largest,
		open: "anything",
		maybe: null,
		colours: [torture.Colour.Odd, "green"],
		byColour: { red: [-1, 0, 1] },
		unit: "ft",
		month: 12,
	};
	equal(await service.enums(enums), enums);

	const omitted: torture.Omitted = { always: "", object: { length: 1 } };
	equal(await service.omitted(omitted), omitted);

	const times = { time: new Date(0).toISOString(), duration: 9223372036854775807n, maybe: null, list: ["2026-11-24T12:00:00.123456789+01:00"], spans: { a: -1 } };
	equal(await service.times(times), { ...times, time: "1970-01-01T00:00:00Z" });

	const node: torture.Node = { name: "root", left: { name: "left", left: null, children: null, byName: null }, children: [], byName: { a: null } };
	equal(await service.tree(node), node);
	equal(await service.quoted({ int64: -9223372036854775808n, uint64: 1, bool: true, float: 0.1, text: '"a"', level: 1, list: [1] }),
		{ int64: -9223372036854775808n, uint64: 1, bool: true, float: 0.1, text: '"a"', level: 1, list: [1] });
	equal(await new torture.Signatures(client).scalar(-9223372036854775808n), -9223372036854775808n);
	equal(await new torture.Signatures(client).list([]), []);

	// What a number doesn't hold is told before it is sent.
	for (const [request, message] of [
		[{ ...numbers, int64: 2 ** 53 }, "request.int64 is 9007199254740992, which is no integer, or so large that others are the same number: send a bigint"],
		[{ ...numbers, int: 0.5 }, "request.int is 0.5, which is no integer, or so large that others are the same number: send a bigint"],
		[{ ...numbers, float64: NaN }, "request.float64 is NaN, which JSON doesn't have"],
		[{ ...numbers, exact: "12a" }, 'request.exact is "12a", which is no number'],
	] as const) {
		const e = await failure(service.numbers(request));
		equal([e.status, e.message, e.cause instanceof TypeError], [0, `Torture.Numbers: encode request: ${message}`, true]);
	}

	// All constraints that a request breaks come in one message.
	const valid: torture.Constrained = {
		name: "Ana", colour: "red", count: 9007199254740993n, ratio: 1.5, dice: 6, tags: ["a", "b"], maybe: null, sure: false, items: [{ label: "x", grid: null }], byName: null, next: null, key: "AAAA", low: 0,
	};
	equal(await service.constrained(valid), valid);
	const e = await failure(service.constrained({ ...valid, name: "A", dice: 7, count: 9007199254740994n }));
	equal([e.status, e.code], [400, "invalid_argument"]);
	equal(e.message, "Constrained.Name must have at least 2 characters; Constrained.Count must be at most 9007199254740993; Constrained.Dice must be one of 1, 2, 3, 4, 5, 6");

	// What isn't of a type doesn't compile.
	const never = () => [
		// @ts-expect-error an enum has its values alone
		service.enums({ ...enums, colour: "purple" }),
		// @ts-expect-error not nullable
		service.numbers({ ...numbers, int8: null }),
		// @ts-expect-error not optional
		service.omitted({ object: { length: 1 } }),
		// @ts-expect-error dates are text
		service.times({ ...times, time: new Date() }),
		// @ts-expect-error no such field
		service.tree({ ...node, right: null }),
		// @ts-expect-error what is required isn't null
		service.constrained({ ...valid, sure: null }),
	];
	equal(never.length, 0);
}

/** Returns what a call fails with. */
export async function failure(call: Promise<unknown>): Promise<torture.CallError> {
	const error = await call.then((answer) => new Error(`it succeeds with ${show(answer)}`), (e: unknown) => e);
	if ((error as Error).name !== "CallError") throw error;
	return error as torture.CallError;
}
