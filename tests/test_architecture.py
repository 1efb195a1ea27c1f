"""The house's rules, held by a test: who may know whom, and what may stand nowhere."""
import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aioapp
from aioapp.endpoints import OPERATIONS
from aioapp.endpoints.root import PLACES

HOUSE = Path(aioapp.__file__).parent
FLOORS = [
    {"errors", "callers", "money", "webhooks"},
    {"messages", "settings"},
    {"generation"},
    {"alerts", "background", "credentials", "keys", "limits", "usage"},
    {"store", "telemetry", "upstream"},
    {"layers", "watched"},
    {"services"},
    {"web"},
    {"endpoints"},
    {"startup"},
    {"app"},
    {"cli"},
    {"extend", "__main__"},
]
APART = {"simulator"}
KNOWS_WEB = {"web", "endpoints", "app", "cli", *APART}
KNOWS_SETTINGS = {"__init__", "services", "settings", "app", "cli", "startup", "telemetry", "watched",
                  "extend"}
KNOWS_ENVIRONMENT = {"app", "cli", "credentials"}
MODULES = sorted(HOUSE.rglob("*.py"))


def name_of(module: Path) -> str:
    return module.relative_to(HOUSE).as_posix()


def room_of(module: Path) -> str:
    return module.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Every module that is named in an import, wherever it stands; `from a import b` names both `a` and `a.b`."""
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(source), names=names):
                yield source
                yield from (f"{source}.{alias.name}" for alias in names)


def rooms_known(module: Path) -> set[str]:
    known = {name.split(".")[1] for name in imports(module) if name.startswith("aioapp.")}
    return {room for room in known if (HOUSE / room).is_dir() or (HOUSE / f"{room}.py").exists()}


def floor_of(room: str) -> int:
    return next(level for level, rooms in enumerate(FLOORS) if room in rooms)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_room_stands_on_a_floor(module: Path) -> None:
    assert room_of(module) in set.union(APART, *FLOORS) | {"__init__"}


@pytest.mark.parametrize("module", [path for path in MODULES if room_of(path) not in APART], ids=name_of)
def test_a_room_knows_only_lower_floors_and_itself(module: Path) -> None:
    room = room_of(module)
    above = {known for known in rooms_known(module) - {room, "__init__"}
             if known not in APART and floor_of(known) >= (floor_of(room) if room != "__init__" else 99)
             and not (floor_of(room) == 0 and known == "errors")}
    assert not above


@pytest.mark.parametrize("module", [path for path in MODULES if room_of(path) in APART], ids=name_of)
def test_the_simulator_knows_nothing_of_the_house(module: Path) -> None:
    assert rooms_known(module) <= APART


@pytest.mark.parametrize("module", [path for path in MODULES if room_of(path) not in KNOWS_WEB], ids=name_of)
def test_aiohttps_server_is_known_only_where_http_is_spoken(module: Path) -> None:
    assert not [name for name in imports(module) if name.startswith("aiohttp.web")]


@pytest.mark.parametrize("module", [path for path in MODULES if room_of(path) not in KNOWS_ENVIRONMENT], ids=name_of)
def test_the_environment_is_read_at_the_roots_only(module: Path) -> None:
    named = {node.attr for node in ast.walk(ast.parse(module.read_text()))
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"}
    assert not named & {"environ", "environb", "getenv", "getenvb"}
    assert not {name for name in imports(module) if name.startswith("os.") and "env" in name}


@pytest.mark.parametrize("module", [path for path in MODULES if room_of(path) not in KNOWS_SETTINGS], ids=name_of)
def test_settings_are_known_at_the_roots_only(module: Path) -> None:
    assert "settings" not in rooms_known(module)


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_and_functions_stay_small(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 200
    long = [node.name for node in functions(module) if (node.end_lineno or 0) - node.lineno >= 40]
    assert not long


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_beyond_two_arguments_names_are_needed(module: Path) -> None:
    # What a signature owes to a protocol (a context manager's exit, marshmallow's fields, aiohttp's connection) is not
    # ours to choose.
    free = {"__aexit__", "_deserialize", "finish_response", "handle_error"}
    many = [node.name for node in functions(module)
            if len([arg for arg in node.args.args if arg.arg not in ("self", "cls")]) > 2 and node.name not in free]
    assert not many


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_failure_is_swallowed_whole(module: Path) -> None:
    """A handler of `Exception` must do something with it: raise, tell or record it."""
    swallowed = [node.lineno for node in ast.walk(ast.parse(module.read_text()))
                 if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in (
                     "Exception", "BaseException")) and all(isinstance(line, ast.Pass) for line in node.body)]
    assert not swallowed


# Rooms inside rooms, and modules.

WEB_FLOORS = ["web", "web.server", "web.access", "web.operations", "web.openapi"]


def dotted(module: Path) -> str:
    return ".".join(("aioapp", *module.relative_to(HOUSE).with_suffix("").parts)).removesuffix(".__init__")


NAMES = {dotted(module): module for module in MODULES}


def modules_known(module: Path) -> set[str]:
    """The modules that are imported as soon as this one is."""
    body = ast.Module([node for node in ast.parse(module.read_text()).body
                       if isinstance(node, (ast.Import, ast.ImportFrom))], [])
    found = set()
    for node in body.body:
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(source), names=names):
                found |= {f"{source}.{alias.name}" if f"{source}.{alias.name}" in NAMES else source for alias in names}
    return found & set(NAMES) - {dotted(module)}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Ways from a module back to itself, one for each place where a search comes back to where it is."""
    done: set[str] = set()
    found: list[list[str]] = []

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name):], name])
        elif name not in done:
            for known in sorted(graph[name]):
                walk(known, [*path, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles({name: modules_known(module) for name, module in NAMES.items()}) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


def web_room(name: str) -> str | None:
    parts = name.split(".")[1:]
    if parts[:1] != ["web"]:
        return None
    return ".".join(parts[:2]) if ".".join(parts[:2]) in WEB_FLOORS else "web"


@pytest.mark.parametrize("name", [name for name in NAMES if web_room(name)])
def test_inside_web_a_room_knows_only_lower_ones(name: str) -> None:
    floor = WEB_FLOORS.index(str(web_room(name)))
    assert not [known for known in modules_known(NAMES[name])
                if (room := web_room(known)) and WEB_FLOORS.index(room) > floor]


@pytest.mark.parametrize("name", NAMES)
def test_sqlite_is_known_to_the_embedded_store_alone(name: str) -> None:
    known = {source.split(".")[0] for source in imports(NAMES[name])}
    assert "sqlite3" not in known or name.startswith("aioapp.store.embedded.")


KNOW_PROMPTS = ("aioapp.messages.", "aioapp.upstream.request", "aioapp.web.operations.", "aioapp.endpoints.",
                "aioapp.simulator.")
"""Operations of ours stand in `endpoints`, as others' do in their programs; the simulator has values of its own."""
OF_A_TEXT_PROMPT = {"messages", "system", "temperature", "effort", "stop_sequences", "thinking"}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(KNOW_PROMPTS)])
def test_what_a_prompt_is_made_of_is_known_only_where_it_is_made(name: str) -> None:
    read = {node.attr for node in ast.walk(ast.parse(NAMES[name].read_text()))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("prompt")}
    assert not read & OF_A_TEXT_PROMPT


NAMED_FOR_WHAT_THEY_SERVE = ("aioapp.endpoints", "aioapp.cli", "aioapp.store.", "aioapp.simulator")
"""An endpoint or a command is called as what it is about, and a store as the protocol that it offers."""


def test_no_two_modules_have_one_name() -> None:
    bases = [name.rpartition(".")[2] for name, module in NAMES.items()
             if module.name not in ("__init__.py", "__main__.py") and not name.startswith(NAMED_FOR_WHAT_THEY_SERVE)]
    assert [base for base in set(bases) if bases.count(base) > 1] == []


COVERED = {
    "alerts.opening": "operators",
    "cli.bench.measure": "cli_bench", "cli.bench.permission": "cli_bench", "cli.bench.servers": "cli_bench",
    "cli.key_commands": "cli_keys", "cli.key_options": "cli_keys", "cli.sockets": "cli_serve",
    "cli.supervisor.retirement": "cli_supervisor_replacement",
    "credentials.claude_code": "credentials", "credentials.protocol": "credentials", "credentials.sdk": "credentials",
    "credentials.static": "credentials", "endpoints.admin.audit": "admin_audit",
    "endpoints.admin.requests": "admin_usage", "endpoints.admin.usage": "admin_usage",
    "endpoints.auth_status": "conformance",
    "endpoints.metrics": "telemetry_metrics", "endpoints.v1.messages": "relay",
    "endpoints.v1.models": "relay", "endpoints.v1.others": "relay", "endpoints.v1.passed": "relay",
    "endpoints.usage": "usage_endpoint", "endpoints.usage_schemas": "openapi", "keys.grants": "admin_keys",
    "keys.key_store": "store_keys", "keys.text": "cli_keys", "limits.allowance": "layers",
    "settings.parsing": "settings", "settings.reading": "settings", "settings.table": "settings",
    "simulator.admission": "simulator_admission",
    "simulator.answers": "simulator_answers", "simulator.checks": "simulator_checks",
    "simulator.errors": "simulator_checks", "simulator.handlers": "simulator", "simulator.shapes": "simulator_shapes",
    "simulator.tools": "simulator_tools", "simulator.wire": "simulator_streams",
    "store.embedded.board.budgets": "limits_budgets",
    "store.embedded.board.faults": "store_board_faults", "store.embedded.board.locks": "store_board_processes",
    "store.embedded.board.rules": "limits",
    "store.embedded.errors": "outages", "store.embedded.outages": "outages",
    "store.embedded.usage_table": "usage_ledger",
    "telemetry.vitals": "operators",
    "telemetry.histogram": "telemetry_metrics", "telemetry.series": "telemetry_metrics",
    "upstream.error_mapping": "upstream", "upstream.passing": "relay", "upstream.relayed": "relay",
    "usage.ledger": "usage_ledger", "usage.rates": "usage_prices", "web.access.policy": "access_policy",
    "web.access_log": "telemetry_logs", "web.anthropic_errors": "relay", "web.cors": "cors",
    "web.error_responses": "middlewares", "web.middlewares": "middlewares", "web.operations.rest": "conformance",
    "web.openapi.introduction": "openapi", "web.operations.relay": "relay", "web.operations.reply": "ask",
    "web.operations.socket_request": "websocket", "web.pages": "docs", "web.refusal": "connection",
    "watched": "operators", "web.server.connection": "connection",
}
"""Modules that no test imports, each with the test that shows what it does."""


def test_every_module_is_imported_by_a_test_or_listed_with_the_one_that_covers_it() -> None:
    tests = {path.stem.removeprefix("test_"): path for path in Path(__file__).parent.glob("test_*.py")}
    imported = {name for path in tests.values() for name in imports(path)}
    logic = {name for name, path in NAMES.items() if path.name not in ("__init__.py", "__main__.py")}
    assert {name.removeprefix("aioapp.") for name in logic - imported} == set(COVERED)
    assert set(COVERED.values()) <= set(tests)


def test_what_is_where_lists_every_operation() -> None:
    assert {operation.path for operation in OPERATIONS} <= set(PLACES.values())


SCRIPTS = sorted((HOUSE / "pages").rglob("*.js"))


@pytest.mark.parametrize("script", SCRIPTS, ids=name_of)
def test_the_pages_scripts_stay_small(script: Path) -> None:
    assert len(script.read_text().splitlines()) <= 200


def test_modules_are_neither_crammed_nor_crumbs() -> None:
    sizes = sorted(len(path.read_text().splitlines()) for path in MODULES if path.name != "__init__.py")
    assert sizes[len(sizes) // 2] <= 120
    assert sum(size < 25 for size in sizes) <= len(sizes) / 10
