"""Adapter: the ODRL Test Suite (SolidLab, MIT) run by our three-valued evaluator.

Each file stays in its own graph: policies share constraint identifiers, states of the world share the current time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from functools import cache
from pathlib import Path

from rdflib import RDF, Graph, Namespace, URIRef

from trustnode.core.policy import evaluate, words

SUITE = Path(__file__).parents[3] / "shared" / "data" / "odrl-test-suite"
"""Beside the checkout, not in it: the suite is somebody else's."""

ODRL = Namespace("http://www.w3.org/ns/odrl/2/")
EX = Namespace("http://example.org/")
TEMP = Namespace("http://example.com/request/")
DCT = Namespace("http://purl.org/dc/terms/")
REPORT = Namespace("https://w3id.org/force/compliance-report#")

DEPRECATED = {"write": "modify"}
PARENTS = {action: known.parent for action, known in words.ACTIONS.items()} | {"modify": "use", "sell": "transfer"}
STATES = {"Fulfilled": "FULFILLED", "Violated": "VIOLATED", "NonSet": "OPEN"}
SATISFIED = {True: REPORT.Satisfied, False: REPORT.Unsatisfied, None: REPORT.Unsatisfied}
"""The suite has no third state of satisfaction."""


def read(path):
    graph = Graph()
    graph.parse(path)
    return graph


@cache
def graphs(folder, key):
    """Graphs of a folder by identifier: ``odrl:uid`` of policies and requests, the ``ex:Sotw`` of states."""
    found = {}
    for path in sorted((SUITE / folder).glob("*.ttl")):
        graph = read(path)
        names = graph.subjects(RDF.type, EX.Sotw) if key is None else graph.objects(None, key)
        found.update(dict.fromkeys(names, graph))
    return found


@dataclass(frozen=True)
class Case:
    """One test case with the three graphs it is about."""

    name: str
    expected: Graph
    policy: Graph
    request: Graph
    world: Graph


def cases():
    """All cases, or none where the suite is not there."""
    return [case(path) for path in sorted((SUITE / "test_cases").glob("*.ttl"))]


def case(path):
    graph = read(path)
    node = graph.value(None, RDF.type, EX.TestCase)
    policy = graphs("policies", ODRL.uid)[graph.value(node, EX.policy)]
    asked = graphs("requests", ODRL.uid)[graph.value(node, EX.request)]
    return Case(path.stem, graph, policy, asked, graphs("sotw", None)[graph.value(node, EX.sotw)])


@dataclass(frozen=True)
class Answer:
    """What our evaluator says to a case, in the terms of the report."""

    kind: URIRef
    rule: URIRef
    rule_request: URIRef
    activation: URIRef
    constraints: dict
    """Constraint node -> satisfaction state, logical and atomic."""
    premises: tuple
    """(class, state) of each top-level premise, sorted."""


def answer(case, timing):
    """Evaluate a case with every duty at ``timing``."""
    rule, kind = rule_of(case.policy)
    asked = case.request.value(None, RDF.type, ODRL.Permission)
    now = case.world.value(TEMP.currentTime, DCT.issued).toPython()
    named = named_premises(case, rule, asked)
    constraints = {}
    tops = [constraint(case.policy, node, now, constraints) for node in case.policy.objects(rule, ODRL.constraint)]
    values = [*named.values(), *tops]
    truth = evaluate.all_of(tuple(lambda _, value=value: value for value in values))(None)
    if kind == ODRL.Permission:
        active = evaluate.permission_active(truth, [(timing, state) for state in duty_states(case, rule)])
    else:
        active = evaluate.prohibition_active(truth)
    premises = [(name, SATISFIED[value]) for name, value in named.items()]
    premises += [(REPORT.ConstraintReport, SATISFIED[value]) for value in tops]
    return Answer(
        REPORT[f"{kind.removeprefix(str(ODRL))}Report"],
        rule,
        asked,
        REPORT.Active if active else REPORT.Inactive,
        {node: SATISFIED[value] for node, value in constraints.items()},
        tuple(sorted(premises)),
    )


def rule_of(policy):
    for kind in (ODRL.Permission, ODRL.Prohibition):
        rule = policy.value(None, RDF.type, kind)
        if rule is not None:
            return rule, kind
    raise LookupError("a policy of the suite has one rule")


def named_premises(case, rule, asked):
    """Truth of target, party and action, each only where the rule names one."""
    found = {}
    for predicate, report in ((ODRL.target, REPORT.TargetReport), (ODRL.assignee, REPORT.PartyReport)):
        wanted = case.policy.value(rule, predicate)
        if wanted is not None:
            found[report] = is_a(str(wanted), str(case.request.value(asked, predicate)), members(case.world))
    wanted = case.policy.value(rule, ODRL.action)
    if wanted is not None:
        found[REPORT.ActionReport] = is_a(action(wanted), action(case.request.value(asked, ODRL.action)), actions)
    return found


def is_a(wanted, value, down):
    return evaluate.term("isA", [wanted], lambda facts: facts, down=down)(value)


def action(node):
    word = node.removeprefix(str(ODRL))
    return DEPRECATED.get(word, word)


def actions(wanted):
    """The actions and all that are included in them."""

    def chain(word):
        return {word, *(chain(PARENTS[word]) if PARENTS.get(word) else ())}

    return frozenset(word for word in {*PARENTS, *wanted} if chain(word) & set(wanted))


def members(world):
    """Collections hold what the state of the world says is part of them."""

    def down(wanted):
        inside = {str(part) for name in wanted for part in world.subjects(ODRL.partOf, URIRef(name))}
        return frozenset({*wanted, *inside})

    return down


LOGICAL = {ODRL["and"]: "and", ODRL["or"]: "or", ODRL.xone: "xone"}


def constraint(policy, node, now, found):
    """Truth of a constraint and, in ``found``, of everything below it."""
    for predicate, name in LOGICAL.items():
        parts = [constraint(policy, part, now, found) for part in policy.objects(node, predicate)]
        if parts:
            truth = evaluate.LOGIC[name](tuple(lambda _, value=value: value for value in parts))(None)
            return found.setdefault(node, truth)
    assert policy.value(node, ODRL.leftOperand) == ODRL.dateTime
    operator = policy.value(node, ODRL.operator).removeprefix(str(ODRL))
    right = policy.value(node, ODRL.rightOperand).toPython()
    text = (right if right.tzinfo else right.replace(tzinfo=UTC)).isoformat()
    return found.setdefault(node, evaluate.instant(operator, text, lambda facts: facts)(now))


def duty_states(case, rule):
    """State of each duty of the rule: what the state of the world reports about that very duty, else open."""
    for duty in case.policy.objects(rule, ODRL.duty):
        report = case.world.value(None, REPORT.rule, duty)
        state = case.world.value(report, REPORT.deonticState) if report is not None else None
        yield STATES[state.removeprefix(str(REPORT))] if state is not None else "OPEN"


def expected_answer(case):
    """The same shape, read from the expected report."""
    graph = case.expected
    report = next(graph.objects(None, REPORT.ruleReport))
    premises = [
        (next(graph.objects(node, RDF.type), None), graph.value(node, REPORT.satisfactionState))
        for node in graph.objects(report, REPORT.premiseReport)
    ]
    constraints = {
        graph.value(node, REPORT.constraint): graph.value(node, REPORT.satisfactionState)
        for node in graph.subjects(RDF.type, REPORT.ConstraintReport)
    }
    complete = all(kind is not None for kind, _ in premises)
    return Answer(
        graph.value(report, RDF.type),
        graph.value(report, REPORT.rule),
        graph.value(report, REPORT.ruleRequest),
        graph.value(report, REPORT.activationState),
        constraints,
        tuple(sorted(premises)) if complete else (),
    )
