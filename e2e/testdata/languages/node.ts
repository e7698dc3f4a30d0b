// node node.js TACOSERVER TESTSERVER: the TypeScript clients in Node.
import { roundTrip, written } from "./roundtrip.ts";
import { callTacos } from "./tacos.ts";

const [taco, test] = process.argv.slice(2);
await callTacos(taco!, `${test!}/trouble`);
await written(test!);
console.log(await roundTrip(test!));
