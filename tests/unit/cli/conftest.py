"""A node that answers from a table."""

import time
import uuid
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from unit.cli.objects import CONSUMER, CONTRACT, common

from trustnode.cli import session
from trustnode.cli.root import root
from trustnode.core.document import Document, seal
from trustnode.keys import FileSigner


class FakeNode:
    """Answers each method from ``answers``: a value, an error to raise, or a function of the request."""

    def __init__(self):
        self.answers = {}
        self.asked = []

    def call(self, method, fields):
        self.asked.append((method, fields))
        answer = self.answers[method]
        answer = answer(fields) if callable(answer) and not isinstance(answer, BaseException) else answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def stream(self, method, fields):
        yield from self.call(method, fields)

    def requests(self, method):
        return [fields for asked, fields in self.asked if asked == method]

    def submitted(self):
        """Statements that were signed or issued, oldest first: (payload type, payload)."""
        found = []
        for method, fields in self.asked:
            if method == "AdminService/IssueDocument":
                found.append((fields["payload_type"], fields["statement_json"]))
            if method == "DocumentService/SubmitDocument":
                found.append((fields["document"].payload_type, fields["document"].payload))
        return found


class FakeProfile:
    """A participant's profile without files."""

    name, venue, participant = "acme", "zj.example", CONSUMER

    def __init__(self):
        self.signer = FileSigner.generate()
        self.aliases = {"flights": CONTRACT}
        self.key_document = Document("application/vnd.trustnode.participant-key.v1+json", b"{}")

    def sign(self, statement):
        return seal(statement, self.signer)

    def alias_of(self, contract):
        return next((name for name, known in self.aliases.items() if known == contract), "")

    def fields(self, *audience):
        return {**common(self.participant), "id": str(uuid.uuid4()), "aud": audience}


@pytest.fixture
def node():
    return FakeNode()


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "zj"
    folder.mkdir()
    (folder / "trustnode.toml").write_text('[node]\ntrust_domain = "zj.example"\n', encoding="utf-8")
    return folder


@pytest.fixture
def run(node, home, monkeypatch):
    """Run one command as the participant acme, or with ``operator=True`` as the operator of ``venue``."""

    def run(*words, operator=False, venue="zj.example", **options):
        @contextmanager
        def as_operator():
            yield session.Operator(node.call, node.stream, venue, home)

        @contextmanager
        def as_client():
            yield session.Client(node.call, node.stream, FakeProfile())

        monkeypatch.setattr(session, "operator", as_operator)
        monkeypatch.setattr(session, "client", as_client)
        monkeypatch.setattr(session, "connect", as_operator if operator else as_client)
        monkeypatch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        who = ["--home", str(home)] if operator else []
        return CliRunner().invoke(root, [*words, *who], **options)

    return run
