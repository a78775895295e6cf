"""Keys on disk, the venue's certificate authority, the signers of documents.

Decides: how a key is stored and who may read it, what a certificate of this venue looks like. Leaves to others: which
certificate is accepted (``core.identity``), which key may sign what (``core.document``), when to renew (``node``).
Needs ``cryptography`` and ``core`` only, so that the client uses the same code for its own key and request.
"""

from trustnode.keys.authority import (
    Authority,
    Credential,
    Issued,
    issue_credential,
    issue_from_request,
    issue_node,
    make_client_key_and_csr,
    make_csr,
    make_intermediate,
    make_root,
    renewal_time,
)
from trustnode.keys.cards import issue_card, read_card, write_card
from trustnode.keys.credentials import read_credentials
from trustnode.keys.files import Custody, FileSigner, load_certificate_key, read_secret, write_secret
from trustnode.keys.home import (
    NodeKeys,
    create_node_keys,
    load_node_keys,
    node_credential,
    root_key_files,
    root_key_path,
    root_signer,
    root_signers,
)

__all__ = [
    "Authority",
    "Credential",
    "Custody",
    "FileSigner",
    "Issued",
    "NodeKeys",
    "create_node_keys",
    "issue_card",
    "issue_credential",
    "issue_from_request",
    "issue_node",
    "load_certificate_key",
    "load_node_keys",
    "make_client_key_and_csr",
    "make_csr",
    "make_intermediate",
    "make_root",
    "node_credential",
    "read_card",
    "read_credentials",
    "read_secret",
    "renewal_time",
    "root_key_files",
    "root_key_path",
    "root_signer",
    "root_signers",
    "write_card",
    "write_secret",
]
