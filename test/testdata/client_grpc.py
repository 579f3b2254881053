"""Calls the shop's gRPC service with grpcio alone: messages are written and read by hand."""
import os

import grpc

with open(os.environ["CA"], "rb") as f:
    tls = grpc.ssl_channel_credentials(f.read())
token = grpc.access_token_call_credentials(os.environ["GATEHOUSE_TOKEN"])
channel = grpc.secure_channel(os.environ["ADDRESS"], grpc.composite_channel_credentials(tls, token))

same = dict(request_serializer=lambda b: b, response_deserializer=lambda b: b)
get = channel.unary_unary("/shop.v1.Customers/Get", **same)
everyone = channel.unary_stream("/shop.v1.Customers/List", **same)
load = channel.stream_unary("/shop.v1.Customers/Import", **same)
chat = channel.stream_stream("/shop.v1.Customers/Chat", **same)


def field(message, number):
    """The first field of a number whose value is bytes, in a message without fixed numbers."""
    i = 0
    while i < len(message):
        tag, value = message[i], message[i + 1]
        i += 2
        if tag & 7 == 0:
            continue
        if tag >> 3 == number:
            return message[i:i + value].decode()
        i += value


print("unary", field(get(b"\x08\x07", timeout=60), 3))
print("stream", sum(1 for _ in everyone(b"\x10\x05", timeout=60)))
print("stream unary", load(iter([b"\x08\x01", b"\x08\x02", b"\x08\x03"]), timeout=60)[1])
print("both", sum(1 for _ in chat(iter([b"\x0a\x01a"] * 4), timeout=60)))
try:
    get(b"\x12\x01x", timeout=60)
except grpc.RpcError as e:
    details = dict(e.trailing_metadata()).get("grpc-status-details-bin", b"")
    print("refused", e.code().name, "gatehouse" if b"gatehouse" in details and b"POLICY_DENIED" in details else details)
try:
    get(b"\x08\xdd\x04", timeout=1)
except grpc.RpcError as e:
    print("deadline", e.code().name)
print("gzip", "ok" if field(get(b"\x08\x07", timeout=60, compression=grpc.Compression.Gzip), 3) else "no")
