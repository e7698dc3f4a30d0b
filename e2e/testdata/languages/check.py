"""python3 check.py TACOSERVER TESTSERVER: the Python clients, as their users call them.

It imports generated/client.py as tacos and the torture definition's as torture.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import urllib.request
from decimal import Decimal
from typing import Any, Callable

import tacos
import torture


def equal(got: object, want: object) -> None:
    assert got == want and type(got) is type(want), f"got {got!r}, want {want!r}"


def failure(call: Callable[[], object]) -> Any:
    try:
        got = call()
    except (tacos.CallError, torture.CallError) as e:
        return e
    raise AssertionError(f"it succeeds with {got!r}")


def call_tacos(taco: str, trouble: str) -> None:
    """Calls tacoserver, and servers that are in trouble."""
    seen: list[str] = []

    def headers(service: str, method: str) -> dict[str, str]:
        seen.append(f"{service}.{method}")
        return {"X-Test": "yes"}

    with tacos.Client(taco, headers=headers) as client:
        service = tacos.TacoService(client)
        answer = service.eat_taco(tacos.EatTacoRequest(name="Ana", tacos=["Al pastor", "Carnitas"]))
        equal(answer.taco_consumption_status, "Ana has consumed 2 tacos")
        refused = failure(lambda: service.eat_taco(tacos.EatTacoRequest(name="", tacos=["Fish"])))
        equal(
            [refused.service, refused.method, refused.status, refused.code, refused.message, str(refused), refused.body],
            ["TacoService", "EatTaco", 400, "invalid_argument", "EatTacoRequest.Name is required", "EatTacoRequest.Name is required", ""],
        )
        equal(seen, ["TacoService.EatTaco", "TacoService.EatTaco"])

    request = tacos.EatTacoRequest(name="Ana", tacos=[])

    def at(path: str, **options: Any) -> tacos.TacoService:
        return tacos.TacoService(tacos.Client(f"{trouble}/{path}", **options))

    html = 'text/html: "<h1>Bad Gateway</h1>"'
    for path, status, code, message in [
        ("html502", 502, "", f"TacoService.EatTaco: status 502, but no answer of the service: {html}"),
        ("html200", 200, "", f"TacoService.EatTaco: status 200, but no answer of the service: {html}"),
        ("empty", 200, "", 'TacoService.EatTaco: status 200, but no answer of the service: no Content-Type: ""'),
        ("json404", 404, "", 'TacoService.EatTaco: status 404, but no answer of the service: application/json: "{}"'),
        ("redirect", 302, "", 'TacoService.EatTaco: status 302, but no answer of the service: no Content-Type: ""'),
        ("error200", 200, "", "ate too much"),
        ("error503", 503, "unavailable", "not now"),
        ("wrong", 200, "", "TacoService.EatTaco: status 200, but no answer of the service: answer.tacoConsumptionStatus is 12, "
         'want string: application/json: "{\\"tacoConsumptionStatus\\":12}"'),
    ]:
        e = failure(lambda: at(path).eat_taco(request))
        equal([path, e.status, e.code, e.message], [path, status, code, message])
    gone = failure(lambda: at("cut").eat_taco(request))
    equal(gone.message.startswith("TacoService.EatTaco: "), True)
    large = failure(lambda: at("html200", max_response_bytes=4).eat_taco(request))
    equal(large.message, "TacoService.EatTaco: read answer of status 200: it is larger than 4 bytes")
    told = at("headers", headers={"X-Hook": "of the client", "X-Both": "too"}).eat_taco(request)
    equal(told.taco_consumption_status, "of the client, too")
    late = failure(lambda: at("slow", timeout=0.05).eat_taco(request))
    equal([late.status, late.message, type(late.__cause__)], [0, "TacoService.EatTaco: no answer: not within 0.05 s", TimeoutError])
    dripping = failure(lambda: at("drip").eat_taco(request, timeout=0.3))
    equal([dripping.status, dripping.message], [200, "TacoService.EatTaco: read answer of status 200: not within 0.3 s"])
    for wrong in ("localhost:8080/oto/", "ftp://localhost/", ""):
        try:
            tacos.Client(wrong)
        except ValueError as error:
            equal(str(error), f"base_url is {wrong!r}, want one like http://localhost:8080/oto/")
        else:
            raise AssertionError(f"Client({wrong!r}) succeeds")


def keeps_connections(test: str) -> None:
    """One connection serves call after call; threads have one each, and a new one comes when the server has ended it."""
    request = tacos.EatTacoRequest(name="Ana", tacos=[])
    with tacos.Client(f"{test}/trouble/connection") as client:
        service = tacos.TacoService(client)

        def connection() -> str:
            return service.eat_taco(request).taco_consumption_status

        first = connection()
        equal([connection() for _ in range(20)], [first] * 20)
        failed: list[BaseException] = []

        def many() -> None:
            try:
                for _ in range(50):
                    connection()
            except BaseException as e:
                failed.append(e)

        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(failed, [])
        urllib.request.urlopen(f"{test}/close").read()  # the server ends all that are idle
        equal(connection() != first, True)


def written(test: str) -> None:
    """Sends values that are written down here: mypy has to take them, too."""
    client = torture.Client(f"{test}/torture/")
    service = torture.Torture(client)
    numbers = torture.Numbers(
        bool_=True, int_=2**63 - 1, int64=-(2**63), uint64=2**64 - 1, uint8=255, float32=0.5, float64=1e300,
        exact=Decimal("123456789012345678901234567890.12"), score=-0.25,
    )
    equal(service.numbers(numbers), numbers)
    enums = torture.Enums(
        colour=torture.Colour.RED, level=torture.Level.HIGH, size=torture.Size.LARGEST, open="anything",
        colours=[torture.Colour.ODD], by_colour={torture.Colour.GREEN: [torture.Level.LOW]}, unit=torture.Unit.FOOT, month=12,
    )
    equal(service.enums(enums), enums)
    equal(torture.Level.TOP, torture.Level.HIGH)
    texts = torture.Texts(text="Zoë", name="😀", bytes_=b"\0\xff", octet=b"")
    equal(service.texts(texts), texts)
    omitted = torture.Omitted(always="", object=torture.Leg(length=1.5))
    equal(service.omitted(omitted), omitted)
    pointers = torture.Pointers(int_=0, text="", list_=[], twice=None)
    equal(service.pointers(pointers), pointers)
    equal(torture.Signatures(client).scalar(-(2**63)), -(2**63))
    equal(torture.Signatures(client).list_([]), [])
    page = torture.TextPage(items=[texts], next="2")
    equal(torture.Signatures(client).alias(page), page)

    # A member that only the service knows can be sent back, and none can be made.
    unset = torture.Signatures(client).enum(torture._member(torture.Colour, "purple"))
    equal([unset.value, unset.name, isinstance(unset, torture.Colour)], ["purple", "UNKNOWN", True])
    for value, message in [
        (dataclasses.replace(enums, colour="purple"), "'purple' is not a valid Colour"),
        (dataclasses.replace(enums, month=True), "Enums.month is True, want int"),
        (dataclasses.replace(enums, colours=[None]), "Enums.colours[0] is None, want Colour"),
        (dataclasses.replace(enums, open=b"x"), "Enums.open is b'x', want string"),
    ]:
        e = failure(lambda: service.enums(value))
        equal([e.status, e.message], [0, f"Torture.Enums: encode request: {message}"])
    e = failure(lambda: service.numbers(dataclasses.replace(numbers, float64=float("nan"))))
    equal(e.message, "Torture.Numbers: encode request: Numbers.float64 is nan, want float")

    # All constraints that a request breaks come in one message.
    valid = torture.Constrained(
        name="Ana", colour=torture.Colour.RED, count=9007199254740993, ratio=1.5, dice=6, tags=["a", "b"], sure=False,
        items=[torture.Item(label="x")], key=b"\0\0\0",
    )
    equal(service.constrained(valid), valid)
    e = failure(lambda: service.constrained(dataclasses.replace(valid, name="A", dice=7)))
    equal([e.status, e.code], [400, "invalid_argument"])
    equal(e.message, "Constrained.Name must have at least 2 characters; Constrained.Dice must be one of 1, 2, 3, 4, 5, 6")


class FromAnswers(torture.Client):
    """Sends nothing in particular: what is read is all that matters."""

    def _call(self, service: str, method: str, request: Any, timeout: float | None, takes: Any, gives: Any) -> Any:
        return super()._call(service, method, torture._read(takes, None, ""), timeout, takes, gives)


def round_trip(test: str) -> int:
    """Reads each case as an answer and sends it to a server that holds it against the case."""
    lines = urllib.request.urlopen(f"{test}/cases").read().decode().strip().split("\n")
    index = 0

    def headers(service: str, method: str) -> dict[str, str]:
        called.append(f"{service}.{method}")
        return {"X-Case": str(index)}

    called: list[str] = []
    answers, echoes = FromAnswers(f"{test}/answer/", headers=headers, timeout=60), torture.Client(f"{test}/echo/", headers=headers, timeout=60)

    def methods(client: torture.Client) -> dict[str, Any]:
        services = {"Torture": torture.Torture, "Signatures": torture.Signatures, "Elsewhere": torture.Elsewhere, "Client": torture.DefsClient}
        found = {}
        for name, service in services.items():
            for attr, method in vars(service).items():
                if not attr.startswith("_"):
                    found[f"{name}.{attr.replace('_', '').lower()}"] = getattr(service(client), attr)
        return found

    read, send = methods(answers), methods(echoes)
    for index, line in enumerate(lines):
        case = json.loads(line)
        name = f"{case['service']}.{case['method'].lower()}"
        value = read[name](None)
        back = send[name](value)
        assert back == value, f"{name}: {case['json']} was read as {value!r} and came back as {back!r}"
        equal(called[-2:], [f"{case['service']}.{case['method']}"] * 2)
    return len(lines)


if __name__ == "__main__":
    call_tacos(sys.argv[1], f"{sys.argv[2]}/trouble")
    keeps_connections(sys.argv[2])
    written(sys.argv[2])
    print(round_trip(sys.argv[2]))
