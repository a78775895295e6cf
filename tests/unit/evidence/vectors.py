"""Published vectors: C2SP, RFC 6962 and the federation's own. Keys are fixed seeds, never to be used for anything else."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trustnode.core.evidence.note import VerifierKey, parse_vkey


class TestKey:
    """A signing key from a fixed seed."""

    __test__ = False

    def __init__(self, first_byte: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes(range(first_byte, first_byte + 32)))
        self.public = self._private.public_key().public_bytes_raw()
        self.sign = self._private.sign

    def named(self, name: str, algorithm: int) -> VerifierKey:
        return VerifierKey(name, algorithm, self.public)


ORIGIN = "venue-a.example/log"
WITNESS = "venue-b.example/witness"
LOG_KEY = TestKey(0x00)
WITNESS_KEY = TestKey(0x20)
LOG_VKEY = "venue-a.example/log+af639388+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
WITNESS_VKEY = "venue-b.example/witness+65308a65+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
LOG = parse_vkey(LOG_VKEY)
B = parse_vkey(WITNESS_VKEY)

EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n"
    "\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()

CHECKPOINT_TEXT = "venue-a.example/log\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
LOG_LINE = "— venue-a.example/log r2OTiPFps/a9nYGMPUtYreOid1zfKWfUtqupF8H3pszHuFsrJCM4MRqZTHviyN+MiRblLQjxOkz0X+b8TWRf2e7v0AY=\n"
WITNESS_TIME = 1_700_000_000
WITNESS_LINE = "— venue-b.example/witness ZTCKZQAAAABlU/EARcz416EfdU7go3X0DkeGQg3WcPuvfuwKdN5hqg7TR5pfV5313HJnCLrj00Od/0JtlmKcKp6T7Lud9PC0kAVSCQ==\n"
CHECKPOINT_NOTE = f"{CHECKPOINT_TEXT}\n{LOG_LINE}{WITNESS_LINE}".encode()
PROOF_FILE = (
    b"c2sp.org/tlog-proof@v1\n"
    b"index 5\n"
    b"vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms=\n"
    b"yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA=\n"
    b"037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc=\n"
    b"\n"
) + CHECKPOINT_NOTE

EMPTY_TEXT = "venue-a.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
EMPTY_LINE = "— venue-a.example/log r2OTiM8PWGQsy5+JNf7voIefhyRmui9Mxx6OpTYgWTgGhaK/iLk9TrLLb+gEnfnJzjIqhKpyzmfeAF38sG0AKTDA5AI=\n"

LEAVES = [
    bytes.fromhex(text)
    for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
ROOTS = [
    bytes.fromhex(text)
    for text in [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
]
LEAF_2 = bytes.fromhex("0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7")
LEAF_3 = bytes.fromhex("07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7")
LEAVES_4_5 = bytes.fromhex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a")
LEAVES_6_7 = bytes.fromhex("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0")
LEAVES_4_7 = bytes.fromhex("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4")
CONSISTENCY_TO_8 = {
    3: [LEAF_2, LEAF_3, ROOTS[2], LEAVES_4_7],
    4: [LEAVES_4_7],
    6: [LEAVES_4_5, LEAVES_6_7, ROOTS[4]],
}

STATEMENT = (
    b'{"agreement":"urn:uuid:00000000-0000-4000-8000-000000000001","peer":"spiffe://venue-b.example/node/1","rows":12,'
    b'"time":"2026-01-02T03:04:05.678Z","type":"data_access","venue":"venue-a.example"}'
)
SALT = bytes(range(16))
COMMITMENT = bytes.fromhex("8180f406cad255f06c0b871ad07ad2a40a6b27bbf1584d04c31d1b24698ac541")
COMMITMENT_LEAF = bytes.fromhex("dc703d390c423257f8736c06298d22fc26961f0be69a72286ec4b4e9bd8cb444")
AGREEMENT = "C491330100000000000933002026011508300000000001P"
OBJECT = bytes.fromhex("4fba19309d4eeaf63abbf2c652576e55e49cbf6ac76f2fc5a5f42054d542b0f0")
LINK_1 = bytes.fromhex("efec24fd06531737c488a317b750711830b4d746a74b6c64f6f414cfd041fbcb")
LINK_1_LEAF = bytes.fromhex("70b13de43ff71a5831673205017d7b3c4edeee19f08717c9dd0859cf0f1c9596")
LINK_2 = bytes.fromhex("f9e555560a4a292fb8a7096814f903b07ef98153ffe827ef9e24b5583dfe7cf8")
