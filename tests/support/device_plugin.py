"""A device plugin for GPUs that are not there: it registers over the kubelet's socket as NVIDIA's does.

The only double in it is the hardware. Protocol: k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1. A container that got
devices finds their names in NVIDIA_VISIBLE_DEVICES, as with NVIDIA's own plugin.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

VERSION = "v1beta1"
FOLDER = Path("var/lib/kubelet/device-plugins")
"""Relative to the node's root; the kubelet's own socket is in it, and the plugins' beside that."""
REGISTER_SECONDS = 10.0

_STRING, _BOOL, _MESSAGE = 9, 8, 11
_ONE, _MANY = 1, 3
# Message -> its fields as (name, number, type or message, label); the members that are used here.
_MESSAGES: dict[str, tuple[tuple[str, int, int | str, int], ...]] = {
    "Empty": (),
    "DevicePluginOptions": (("pre_start_required", 1, _BOOL, _ONE),),
    "RegisterRequest": (
        ("version", 1, _STRING, _ONE),
        ("endpoint", 2, _STRING, _ONE),
        ("resource_name", 3, _STRING, _ONE),
        ("options", 4, "DevicePluginOptions", _ONE),
    ),
    "Device": (("ID", 1, _STRING, _ONE), ("health", 2, _STRING, _ONE)),
    "ListAndWatchResponse": (("devices", 1, "Device", _MANY),),
    "ContainerAllocateRequest": (("devices_ids", 1, _STRING, _MANY),),
    "AllocateRequest": (("container_requests", 1, "ContainerAllocateRequest", _MANY),),
    # A map is a list of entries on the wire.
    "Env": (("key", 1, _STRING, _ONE), ("value", 2, _STRING, _ONE)),
    "Mount": (("container_path", 1, _STRING, _ONE), ("host_path", 2, _STRING, _ONE), ("read_only", 3, _BOOL, _ONE)),
    "ContainerAllocateResponse": (("envs", 1, "Env", _MANY), ("mounts", 2, "Mount", _MANY)),
    "AllocateResponse": (("container_responses", 1, "ContainerAllocateResponse", _MANY),),
}


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="deviceplugin.proto", package=VERSION, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label in fields:
            made = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                made.type, made.type_name = _MESSAGE, f".{VERSION}.{kind}"
            else:
                made.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{VERSION}.{name}")) for name in _MESSAGES
    }


class DevicePlugin:
    """Offers ``devices`` as ``resource`` on the node whose root folder is ``root``, while it is entered.

    A container that gets some also gets the variables ``envs`` and sees the node's folder ``mount`` at its own path.
    """

    def __init__(
        self,
        root: Path,
        resource: str,
        devices: tuple[str, ...],
        envs: Mapping[str, str] | None = None,
        mount: Path | None = None,
    ) -> None:
        self._folder, self._resource, self._devices = root / FOLDER, resource, devices
        self._envs, self._mount = dict(envs or {}), mount
        self._endpoint = f"kubetune-{resource.replace('/', '-')}.sock"
        self._types = _classes()
        self._server = grpc.server(ThreadPoolExecutor(4, thread_name_prefix="device-plugin"))
        self._closed = threading.Event()
        self.allocated: list[tuple[str, ...]] = []
        """Device names of every container that got some, in that order."""

    def __enter__(self) -> DevicePlugin:
        self._server.add_generic_rpc_handlers((self._handlers(),))
        socket = self._folder / self._endpoint
        socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{socket}")
        self._server.start()
        self._register()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.stop(grace=1).wait()
        (self._folder / self._endpoint).unlink(missing_ok=True)

    def _register(self) -> None:
        request = self._types["RegisterRequest"](version=VERSION, endpoint=self._endpoint, resource_name=self._resource)
        with grpc.insecure_channel(f"unix:{self._folder / 'kubelet.sock'}") as channel:
            register = channel.unary_unary(
                f"/{VERSION}.Registration/Register",
                request_serializer=_serialise,
                response_deserializer=self._types["Empty"].FromString,
            )
            register(request, timeout=REGISTER_SECONDS)

    def _handlers(self) -> Any:
        empty = self._types["Empty"].FromString
        return grpc.method_handlers_generic_handler(
            f"{VERSION}.DevicePlugin",
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                    lambda _, __: self._types["DevicePluginOptions"](), empty, _serialise
                ),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list_and_watch, empty, _serialise),
                "Allocate": grpc.unary_unary_rpc_method_handler(
                    self._allocate, self._types["AllocateRequest"].FromString, _serialise
                ),
            },
        )

    def _list_and_watch(self, _: Any, __: Any) -> Iterator[Any]:
        yield self._types["ListAndWatchResponse"](
            devices=[self._types["Device"](ID=name, health="Healthy") for name in self._devices]
        )
        # The kubelet takes the end of the stream for the end of the plugin.
        self._closed.wait()

    def _allocate(self, request: Any, _: Any) -> Any:
        answers = []
        for wanted in request.container_requests:
            names = tuple(wanted.devices_ids)
            self.allocated.append(names)
            envs = {"NVIDIA_VISIBLE_DEVICES": ",".join(names)} | self._envs
            mounts = [str(self._mount)] if self._mount else []
            answers.append(
                self._types["ContainerAllocateResponse"](
                    envs=[self._types["Env"](key=key, value=value) for key, value in envs.items()],
                    mounts=[
                        self._types["Mount"](container_path=path, host_path=path, read_only=True) for path in mounts
                    ],
                )
            )
        return self._types["AllocateResponse"](container_responses=answers)


def _serialise(message: Any) -> bytes:
    encoded: bytes = message.SerializeToString()
    return encoded
