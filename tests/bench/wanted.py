"""The virtual services that are programmed, as our values and as `ipvsadm -R` reads them."""

from ipaddress import IPv4Address

from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)

VIPS = IPv4Address("198.19.0.1")
SERVERS = IPv4Address("10.0.0.1")


def state(services: int, servers: int) -> State:
    """`services` virtual services with `servers` real servers each, no address of them used twice."""
    wanted = {}
    for number in range(services):
        first = SERVERS + number * servers
        destinations = {DestinationKey(first + at, 80): DestinationContent(1 + at % 7) for at in range(servers)}
        wanted[ServiceKey(Protocol.TCP, VIPS + number, 80)] = Service(ServiceContent("wlc"), destinations)
    return State(services=wanted)


def rules(wanted: State) -> str:
    """The same as input of `ipvsadm -R`."""
    lines = []
    for key, service in wanted.services.items():
        where = f"-t {key.address}:{key.port}"
        lines.append(f"-A {where} -s {service.content.scheduler}")
        lines += [f"-a {where} -r {to} -m -w {content.weight}" for to, content in service.destinations.items()]
    return "\n".join(lines) + "\n"
